import Glibc

/// Answers compare.py, line by line. Compiled with the files of the study, and nothing else of the trainer.
///
///   optimise SAMPLER SEED DIMENSION...   prints a point a line, and reads the loss there, until its input ends
///   density DIMENSION...                 reads observations, an empty line, and points; prints each log density
///
/// A dimension is real:LOW:HIGH, logreal:LOW:HIGH, whole:LOW:HIGH, logwhole:LOW:HIGH or choice:COUNT.
@main
struct TPEDriver {
  static func main() {
    let arguments = CommandLine.arguments.dropFirst()
    switch arguments.first {
    case "optimise": optimise(Array(arguments.dropFirst()))
    case "density": density(arguments.dropFirst().map(domain))
    default: fatalError("expected optimise or density")
    }
  }

  static func domain(_ text: String) -> SearchSpace.Domain {
    let parts = text.split(separator: ":").map(String.init)
    let numbers = parts.dropFirst().compactMap { Double($0) }
    switch (parts[0], numbers.count) {
    case ("real", 2): return .real(numbers[0]...numbers[1], isLogarithmic: false)
    case ("logreal", 2): return .real(numbers[0]...numbers[1], isLogarithmic: true)
    case ("whole", 2): return .whole(Int(numbers[0])...Int(numbers[1]), isLogarithmic: false)
    case ("logwhole", 2): return .whole(Int(numbers[0])...Int(numbers[1]), isLogarithmic: true)
    case ("choice", 1): return .choice(Int(numbers[0]))
    default: fatalError("expected a dimension, found \(text)")
    }
  }

  static func numbers(_ line: String) -> [Double] { line.split(separator: " ").compactMap { Double($0) } }

  static func optimise(_ arguments: [String]) {
    guard let sampler = Study.Sampler(rawValue: arguments[0]), let seed = UInt64(arguments[1]) else {
      fatalError("expected a sampler and a seed, found \(arguments)")
    }
    let space = SearchSpace(arguments.dropFirst(2).map { SearchSpace.Dimension($0, domain($0)) })
    var study = Study(arms: [.init(name: "function", space: space)], seed: seed, sampler: sampler)
    repeat {
      let trial = study.ask()
      print(trial.point.map { "\($0 ?? .nan)" }.joined(separator: " "))
      flushed()
      guard let line = readLine(), let loss = Double(line) else { return }
      study.tell(trial.number, .complete, loss: loss)
    } while true
  }

  static func density(_ domains: [SearchSpace.Domain]) {
    var observations: [[Double]] = []
    while let line = readLine(), !line.isEmpty { observations.append(numbers(line)) }
    let mixture = ParzenMixture(domains, observations: observations)
    while let line = readLine() { print(mixture.logDensity(numbers(line))) }
  }

  static func flushed() { fflush(nil) }
}
