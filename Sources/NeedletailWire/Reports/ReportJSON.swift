internal import NeedletailCore

// The shapes of `--json` at the terminal and of JSON on the admin port. Both are interfaces, so every name is written
// down here and does not follow renames in the code.

extension VersionReport {
  package var json: JSONObject {
    [
      "version": version, "state": state?.description ?? "unknown", "reason": reason, "digest": digest,
      "signer": signer, "since_ms": sinceMilliseconds, "resident_bytes": residentBytes, "traffic": traffic?.json,
    ]
  }
}

extension VersionTrafficReport {
  package var json: JSONObject {
    [
      "requests": requests, "failed": failed, "rows": rows,
      "recent_requests": recentRequests, "recent_failed": recentFailed, "recent_rows": recentRows,
      "window_ms": windowMilliseconds, "requests_per_second": requestsPerSecond,
      // Part of the model's recent requests, 0 to 1.
      "share": Double(shareMillionths) / 1e6,
      "p50_us": p50Microseconds.ifPositive, "p99_us": p99Microseconds.ifPositive,
    ]
  }
}

extension ModelStatusReport {
  package var json: JSONObject {
    ["model": model, "serving_version": servingVersion, "versions": versions.map(\.json)]
  }
}

extension StoreProblemReport {
  package var json: JSONObject { ["path": path, "reason": reason] }
}

extension ModelListReport {
  package var json: JSONObject { ["models": models.map(\.json), "problems": problems.map(\.json)] }
}

extension HealthReport {
  package var json: JSONObject { ["live": live, "ready": ready, "models": models.map(\.json)] }
}

extension TensorSpecReport {
  package var json: JSONObject {
    [
      "name": name, "type": type?.description ?? "UNKNOWN", "shape": shape, "categories": categories,
      "optional": optional, "description": summary,
    ]
  }
}

extension ModelDescription {
  package var json: JSONObject {
    [
      "model": model, "version": version, "state": state?.description ?? "unknown", "task": task,
      "inputs": inputs.map(\.json), "outputs": outputs.map(\.json), "labels": labels, "digest": digest,
      "signer": signer, "created_ms": createdMilliseconds, "metrics": metrics, "lineage": lineage,
      "precision": precision, "isa": isa, "resident_bytes": residentBytes, "plan": plan,
      "plan_choice": planChoice, "status": status?.json, "missing_words": valueRules?.missing,
      "number_marks": valueRules?.numbers.words,
    ]
  }
}

extension EventReport {
  package var json: JSONObject {
    [
      "sequence": sequence, "time_ms": milliseconds, "kind": kind, "severity": severity, "message": message,
      // Absent where the event is about no model, or about all its versions.
      "model": model.ifNotEmpty, "version": version.ifPositive,
      "facts": Dictionary(facts.map { ($0.name, $0.value) }) { first, _ in first },
    ]
  }
}

extension EventListReport {
  package var json: JSONObject {
    ["oldest": oldest, "newest": newest, "began_ms": beganMilliseconds, "events": events.map(\.json)]
  }
}

extension UnsignedInteger {
  fileprivate var ifPositive: Self? { self > 0 ? self : nil }
}

extension String {
  fileprivate var ifNotEmpty: String? { isEmpty ? nil : self }
}

/// An object of a JSON interface: names as they are printed, and values; a value of nil leaves its name out.
package struct JSONObject: Encodable, ExpressibleByDictionaryLiteral {
  package typealias Key = String
  package typealias Value = any Encodable

  private struct Name: CodingKey {
    let stringValue: String
    var intValue: Int? { nil }

    init(stringValue: String) { self.stringValue = stringValue }
    init?(intValue: Int) { nil }
  }

  private let members: [(name: String, value: any Encodable)]

  package init(dictionaryLiteral members: (Key, Value)...) {
    self.members = members.map { (name: $0.0, value: $0.1) }
  }

  package init(_ members: [(name: String, value: any Encodable)]) { self.members = members }

  package func encode(to encoder: any Encoder) throws {
    var object = encoder.container(keyedBy: Name.self)
    for (name, value) in members where (value as? any Absentable)?.isAbsent != true {
      try object.encode(value, forKey: Name(stringValue: name))
    }
  }
}

/// Distinguishes nil from a value of any type.
private protocol Absentable {
  var isAbsent: Bool { get }
}

extension Optional: Absentable {
  fileprivate var isAbsent: Bool {
    if case .none = self { true } else { false }
  }
}
