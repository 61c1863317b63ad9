/// An object of a JSON interface: names as they are printed, and values; nil leaves a name out.
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

  package func encode(to encoder: any Encoder) throws {
    var object = encoder.container(keyedBy: Name.self)
    for (name, value) in members where (value as? any Absentable)?.isAbsent != true {
      try object.encode(value, forKey: Name(stringValue: name))
    }
  }
}

/// Tells nil from a value whatever its type.
private protocol Absentable {
  var isAbsent: Bool { get }
}

extension Optional: Absentable {
  fileprivate var isAbsent: Bool {
    if case .none = self { true } else { false }
  }
}
