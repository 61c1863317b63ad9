import Foundation
import NeedletailCore
import NeedletailWire

/// Messages as our decoders read them, in protobuf's JSON form: so that they can be compared with what Google's
/// parser read.
enum ProtobufJSON {
  typealias Object = [String: Any]

  static func object(_ pairs: KeyValuePairs<String, Any?>) -> Object {
    var object = Object()
    for (key, value) in pairs {
      if let value { object[key] = value }
    }
    return object
  }

  /// Defaults are left out, 64-bit numbers are strings, bytes are base64.
  static func text(_ bytes: UnsafeRawBufferPointer) -> String? {
    bytes.isEmpty ? nil : String(decoding: bytes, as: UTF8.self)
  }
  static func text(_ text: String) -> String? { text.isEmpty ? nil : text }
  static func long(_ value: UInt64) -> String? { value == 0 ? nil : String(value) }
  static func int(_ value: UInt32) -> Int? { value == 0 ? nil : Int(value) }
  static func flag(_ value: Bool) -> Bool? { value ? true : nil }
  static func list(_ values: [Any]) -> [Any]? { values.isEmpty ? nil : values }
  static func base64(_ bytes: some Sequence<UInt8>) -> String { Data(bytes).base64EncodedString() }

  // MARK: requests

  static func of(_ view: RequestView) -> Object {
    var object = object(["id": long(view.id), "timeout_us": int(view.timeoutMicroseconds)])
    switch view.call {
    case .predict(let predict): object["predict"] = of(predict)
    case .health: object["health"] = Object()
    case .metrics: object["metrics"] = Object()
    case .listModels: object["list_models"] = Object()
    case .describeModel(let describe):
      object["describe_model"] = with(describe.selector, Self.object(["model": text(describe.model)]))
    case .authenticate(let key): object["authenticate"] = Self.object(["api_key": text(key)])
    case .events(let after, let limit):
      object["events"] = Self.object(["after": long(after), "limit": int(limit)])
    case .rollout(let model, let undo):
      object["rollout"] = Self.object([
        "model": text(model), "action": undo.map { _ in "ROLLOUT_UNDO" }, "from_version": long(undo?.version ?? 0),
        "force": undo?.isForced == true ? true : nil,
      ])
    case .serverInfo: object["server_info"] = Object()
    case .feedback(let view): object["feedback"] = of(view)
    case .none: break
    }
    return object
  }

  private static func of(_ predict: PredictView) -> Object {
    with(
      predict.selector,
      object([
        "model": text(predict.model), "inputs": list(predict.tensors.map(of)),
        "outputs": list(predict.outputs.map { String(decoding: $0, as: UTF8.self) }),
        "routing_key": text(predict.routingKey),
        "priority": predict.priority == .bulk ? "BULK" : nil, "key": text(predict.key),
      ]))
  }

  private static func of(_ view: FeedbackView) -> Object {
    guard case .message(let message) = view.body, let bytes = try? message.bytes(),
      let outcomes = try? bytes.withUnsafeBytes({ try ReportedOutcome.decode($0) })
    else { return ["error": "expected outcomes"] }
    return object(["model": text(view.model), "outcomes": list(outcomes.map(of))])
  }

  private static func of(_ outcome: ReportedOutcome) -> Object {
    var object = object(["key": text(outcome.key), "row": int(outcome.row)])
    switch outcome.truth {
    case .label(let label): object["label"] = label
    case .value(let value): object["value"] = value
    }
    return object
  }

  private static func of(_ tensor: TensorView) -> Object {
    object([
      "name": text(tensor.name), "type": tensor.type?.description, "shape": list(tensor.shape.map(String.init)),
      "data": tensor.data.isEmpty ? nil : base64(tensor.data), "strings": list(tensor.strings.map { base64($0) }),
    ])
  }

  private static func with(_ selector: ModelSelector, _ object: Object) -> Object {
    var object = object
    switch selector {
    case .serving: break
    case .version(let version): object["version"] = String(version)
    case .label(let label): object["label"] = String(decoding: label, as: UTF8.self)
    }
    return object
  }

  // MARK: responses

  static func of(_ response: ResponseMessage) -> Object {
    var object = object(["id": long(response.id)])
    switch response.result {
    case .predict(let prediction): object["predict"] = of(prediction)
    case .health(let report):
      object["health"] = Self.object([
        "live": flag(report.live), "ready": flag(report.ready), "models": list(report.models.map(of)),
      ])
    case .metrics(let text): object["metrics"] = Self.object(["text": Self.text(text)])
    case .models(let report):
      object["list_models"] = Self.object([
        "models": list(report.models.map(of)),
        "problems": list(
          report.problems.map { Self.object(["path": Self.text($0.path), "reason": Self.text($0.reason)]) }),
      ])
    case .description(let description): object["describe_model"] = of(description)
    case .authenticated(let principal): object["authenticate"] = Self.object(["principal": text(principal)])
    case .events(let report): object["events"] = of(report)
    case .rollout(let report): object["rollout"] = of(report)
    case .goAway(let lastID): object["go_away"] = Self.object(["last_id": long(lastID)])
    case .failed(let error):
      object["status"] = Self.object([
        "code": error.code.description, "message": text(error.message),
        "retry_after_us": int(error.retryAfterMicroseconds), "detail": error.detail.map(of),
      ])
    case .serverInfo(let report): object["server_info"] = of(report)
    case .feedback(let report): object["feedback"] = of(report)
    case .none: break
    }
    return object
  }

  private static func of(_ detail: ErrorDetail) -> Object {
    object([
      "field": text(detail.field), "row": detail.row.map { String($0) },
      "limit": detail.limit.map {
        object(["name": text($0.name), "maximum": long($0.maximum), "found": long($0.found)])
      },
    ])
  }

  private static func of(_ report: FeedbackReport) -> Object {
    object([
      "joined": int(report.joined), "unknown": int(report.unknown), "late": int(report.late),
      "duplicate": int(report.duplicate), "contradictory": int(report.contradictory), "invalid": int(report.invalid),
      "problems": list(
        report.problems.map {
          object(["index": int($0.index), "result": text($0.result), "message": text($0.message)])
        }),
    ])
  }

  private static func of(_ report: ServerInfoReport) -> Object {
    let limits = report.limits
    return object([
      "name": text(report.name), "version": text(report.version), "isa": text(report.isa),
      "features": list(report.features),
      "limits": object([
        "request_bytes_max": long(limits.requestBytesMax), "answer_bytes_max": long(limits.answerBytesMax),
        "rows_max": long(limits.rowsMax), "calls_in_flight_max": long(limits.callsInFlightMax),
        "other_calls_in_flight_max": long(limits.otherCallsInFlightMax), "tensors_max": long(limits.tensorsMax),
        "dimensions_max": long(limits.dimensionsMax), "output_names_max": long(limits.outputNamesMax),
        "routing_key_bytes_max": long(limits.routingKeyBytesMax), "text_bytes_max": long(limits.textBytesMax),
        "output_bytes_max": long(limits.outputBytesMax), "idle_ms": long(limits.idleMilliseconds),
      ]),
    ])
  }

  private static func of(_ prediction: Prediction) -> Object {
    object([
      "model": text(prediction.model), "version": long(prediction.version), "outputs": list(prediction.outputs.map(of)),
      "timing": object([
        "queue_us": int(prediction.timing.queueMicroseconds), "compute_us": int(prediction.timing.computeMicroseconds),
        "batch_rows": int(prediction.timing.batchRows),
      ]),
    ])
  }

  private static func of(_ output: OutputTensor) -> Object {
    var object = object(["name": text(output.name), "shape": list(output.shape.map { String($0) })])
    switch output.values {
    case .floats(let values):
      object["type"] = "FLOAT32"
      object["data"] = values.withUnsafeBytes { base64($0) }
    case .integers(let values):
      object["type"] = "INT64"
      object["data"] = values.withUnsafeBytes { base64($0) }
    case .strings(let values):
      object["type"] = "STRING"
      object["strings"] = values.map { base64($0.utf8) }
    }
    return object
  }

  private static func of(_ model: ModelStatusReport) -> Object {
    object([
      "model": text(model.model), "serving_version": long(model.servingVersion),
      "versions": list(model.versions.map(of)),
    ])
  }

  private static func of(_ version: VersionReport) -> Object {
    object([
      "version": long(version.version), "state": version.state?.description.uppercased(),
      "reason": text(version.reason), "digest": text(version.digest), "signer": text(version.signer),
      "since_ms": long(version.sinceMilliseconds), "resident_bytes": long(version.residentBytes),
      "traffic": version.traffic.map(of),
    ])
  }

  private static func of(_ traffic: VersionTrafficReport) -> Object {
    object([
      "requests": long(traffic.requests), "failed": long(traffic.failed), "rows": long(traffic.rows),
      "recent_requests": long(traffic.recentRequests), "recent_failed": long(traffic.recentFailed),
      "recent_rows": long(traffic.recentRows), "window_ms": int(traffic.windowMilliseconds),
      "share_ppm": int(traffic.shareMillionths), "p50_us": int(traffic.p50Microseconds),
      "p99_us": int(traffic.p99Microseconds),
    ])
  }

  private static func of(_ report: RolloutReport) -> Object {
    object([
      "model": text(report.model), "serving_version": long(report.servingVersion),
      "arms": list(
        report.arms.map { arm in
          object([
            "version": long(arm.version), "labels": list(arm.labels), "share_ppm": int(arm.shareMillionths),
            "requests": long(arm.requests), "failed": long(arm.failed), "rows": long(arm.rows),
            "nan_outputs": long(arm.nonFinite), "compute_ns": long(arm.computeNanoseconds),
          ])
        }),
      "set_aside": list(
        report.quarantined.map {
          object([
            "version": long($0.version), "cause": text($0.cause), "reason": text($0.reason),
            "since_ms": long($0.sinceMilliseconds),
          ])
        }),
      "shadow": report.shadow.map {
        object([
          "version": long($0.version), "rows": long($0.rows), "flips": long($0.flips), "skipped": long($0.skipped),
          "nan_outputs": long($0.nonFinite), "max_difference": $0.maxDifference == 0 ? nil : $0.maxDifference,
          "compute_ns": long($0.computeNanoseconds), "problem": text($0.problem),
        ])
      },
      "file": text(report.file), "problem": text(report.problem), "durable": flag(report.isDurable),
      "state_problem": text(report.stateProblem),
      "labels": list(
        report.labels.map {
          object([
            "name": text($0.name), "version": long($0.version), "answering_version": long($0.answering),
            "state": $0.state?.description.uppercased(), "reason": text($0.reason),
          ])
        }),
    ])
  }

  private static func of(_ report: EventListReport) -> Object {
    object([
      "oldest": long(report.oldest), "newest": long(report.newest), "began_ms": long(report.beganMilliseconds),
      "events": list(
        report.events.map { event in
          object([
            "sequence": long(event.sequence), "time_ms": long(event.milliseconds), "kind": text(event.kind),
            "severity": text(event.severity), "message": text(event.message), "model": text(event.model),
            "version": long(event.version),
            "facts": list(event.facts.map { object(["name": text($0.name), "value": text($0.value)]) }),
          ])
        }),
    ])
  }

  private static func of(_ spec: TensorSpecReport) -> Object {
    object([
      "name": text(spec.name), "type": spec.type?.description, "shape": list(spec.shape.map { String($0) }),
      "categories": list(spec.categories), "optional": flag(spec.optional), "description": text(spec.summary),
    ])
  }

  private static func of(_ description: ModelDescription) -> Object {
    object([
      "model": text(description.model), "version": long(description.version),
      "state": description.state?.description.uppercased(), "task": text(description.task),
      "inputs": list(description.inputs.map(of)), "outputs": list(description.outputs.map(of)),
      "labels": list(description.labels), "digest": text(description.digest), "signer": text(description.signer),
      "created_ms": long(description.createdMilliseconds),
      "metrics": description.metrics.isEmpty ? nil : description.metrics,
      "lineage": description.lineage.isEmpty ? nil : description.lineage, "precision": text(description.precision),
      "isa": text(description.isa), "resident_bytes": long(description.residentBytes), "plan": list(description.plan),
      "status": description.status.map(of),
      "plan_choice": text(description.planChoice),
      "value_rules": description.valueRules.map { object(["missing": list($0.missing)]) },
    ])
  }
}
