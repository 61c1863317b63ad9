import Foundation
import Testing

/// The vectors of `proto/golden/`, made by Google's protobuf.
struct GoldenVectors {
  struct Vector: Sendable, CustomTestStringConvertible {
    var name: String
    var kind: String
    /// As an encoder writes it: fields by number, defaults left out.
    var isCanonical: Bool
    var messageJSON: Data
    /// Expected of a server about a malformed one: `close`, `wait`, or a status code.
    var reaction: String
    var frames: [String]
    /// Length word included.
    var bytes: [UInt8]

    /// The message in protobuf's JSON form.
    var message: [String: Any] {
      (try? JSONSerialization.jsonObject(with: messageJSON)) as? [String: Any] ?? [:]
    }
    var payload: [UInt8] { Array(bytes.dropFirst(4)) }
    var testDescription: String { name }
  }

  static let all: [Vector] = {
    let directory = URL(fileURLWithPath: #filePath)
      .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
      .appendingPathComponent("proto/golden")
    // A missing or broken vector fails every test of this suite.
    let data = try! Data(contentsOf: directory.appendingPathComponent("index.json"))
    let index = try! JSONSerialization.jsonObject(with: data) as! [[String: Any]]
    return index.map { entry in
      let name = entry["name"] as! String
      return Vector(
        name: name, kind: entry["kind"] as! String, isCanonical: entry["canonical"] as? Bool ?? false,
        messageJSON: try! JSONSerialization.data(withJSONObject: entry["message"] ?? [:]),
        reaction: entry["reaction"] as? String ?? "",
        frames: entry["frames"] as? [String] ?? [],
        bytes: Array(try! Data(contentsOf: directory.appendingPathComponent("\(name).bin"))))
    }
  }()

  static func of(kind: String) -> [Vector] { all.filter { $0.kind == kind } }

  static func named(_ name: String) -> Vector { all.first { $0.name == name }! }
}
