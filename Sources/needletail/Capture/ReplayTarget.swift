internal import Foundation
internal import NeedletailBundle
internal import NeedletailCapture
internal import NeedletailClient
internal import NeedletailCore
internal import NeedletailEngine
internal import NeedletailReplay

/// A version at a server, or a bundle, that answers captured calls.
protocol ReplayTarget: Sendable {
  /// Name for people.
  var name: String { get }
  /// Name of the model; nil: any.
  var model: String? { get }
  var isRemote: Bool { get }

  func answer(_ call: CapturedCall) async throws -> ReplayAnswer
}

enum ReplayTargets {
  /// - Parameter text: `MODEL`, `MODEL@VERSION`, or a path that ends in `.ntb`.
  static func target(_ text: String, _ client: NeedletailClient?) throws -> any ReplayTarget {
    if text.hasSuffix(".ntb") { return try BundleTarget(path: text) }
    guard let reference = ModelReference(argument: text), let client else {
      throw Failure("--model: expected MODEL@VERSION or FILE.ntb, found \(text.quotedForMessage)")
    }
    return ServerTarget(text, reference, client)
  }

  /// Asks some calls, at a server all of them at a time, and gives the answers in the order of the calls.
  static func answers(
    _ calls: [CapturedCall], _ asked: any ReplayTarget, _ other: (any ReplayTarget)?
  ) async throws -> [ReplayPair] {
    let found = try await answers(calls, asked)
    let expected = if let other { try await answers(calls, other) } else { calls.map { ReplayAnswer($0) } }
    return calls.indices.map { ReplayPair(call: calls[$0], asked: found[$0], expected: expected[$0]) }
  }

  private static func answers(
    _ calls: [CapturedCall], _ target: any ReplayTarget
  ) async throws -> [ReplayAnswer] {
    guard target.isRemote else {
      var answers: [ReplayAnswer] = []
      for call in calls { answers.append(try await target.answer(call)) }
      return answers
    }
    return try await withThrowingTaskGroup(of: (Int, ReplayAnswer).self) { group in
      for (index, call) in calls.enumerated() { group.addTask { (index, try await target.answer(call)) } }
      var answers = [ReplayAnswer?](repeating: nil, count: calls.count)
      for try await (index, answer) in group { answers[index] = answer }
      return answers.compactMap { $0 }
    }
  }
}

/// A version at a server.
struct ServerTarget: ReplayTarget {
  let name: String
  private let reference: ModelReference
  private let client: NeedletailClient

  /// Attempts for a call that the server was too busy for.
  private static let attemptsMax = 100

  init(_ name: String, _ reference: ModelReference, _ client: NeedletailClient) {
    self.name = name
    self.reference = reference
    self.client = client
  }

  var model: String? { reference.model }
  var isRemote: Bool { true }

  func answer(_ call: CapturedCall) async throws -> ReplayAnswer {
    let inputs = call.inputs.map { tensor in
      InputTensor(
        name: tensor.text, type: tensor.type ?? .float32, shape: tensor.shape, data: tensor.data,
        strings: tensor.strings.map { String(decoding: $0, as: UTF8.self) })
    }
    // Each by its name: without names, places in texts come as their parts.
    let outputs = call.answers.map { call.model.outputs[$0.output].name }
    var attempt = 1
    while true {
      do throws(ClientError) {
        let found = try await client.predict(
          reference.model, selector: reference.selector, inputs: inputs, outputs: outputs)
        var answer = ReplayAnswer(.ok)
        for output in found.outputs { answer.outputs[output.name] = ReplayAnswer.Values(output.values) }
        return answer
      } catch {
        guard case .server = error.origin else { throw error }
        guard error.isSafeToRetry, attempt < Self.attemptsMax else { return ReplayAnswer(error.code, error.message) }
      }
      attempt += 1
      try await Task.sleep(for: .milliseconds(min(attempt * 2, 50)))
    }
  }
}

/// A bundle, computed in this process.
struct BundleTarget: ReplayTarget {
  let name: String
  let model: String?
  private let replayed: ReplayedModel

  init(path: String) throws {
    let found = try BundleFile.open(path: path)
    let (bundle, contents) = try BundleOutput.naming(path) { () throws(BundleError) in
      let bundle = try VerifiedBundle(found, trust: .allowingUnsigned, expecting: nil, nowMilliseconds: 0)
      return (bundle, try bundle.decode())
    }
    name = path
    model = bundle.manifest.model.name
    do throws(PlanError) {
      replayed = try ReplayedModel(CompiledModel(contents.definition))
    } catch {
      throw Failure("\(path): \(error)")
    }
  }

  var isRemote: Bool { false }

  func answer(_ call: CapturedCall) async throws -> ReplayAnswer { replayed.answer(call) }
}

extension ReplayAnswer.Values {
  /// The values that a server sent.
  fileprivate init(_ values: OutputTensor.Values) {
    switch values {
    case .floats(let numbers): self = .floats(numbers)
    case .integers(let classes): self = .integers(classes)
    case .strings(let texts): self = .strings(texts)
    }
  }
}
