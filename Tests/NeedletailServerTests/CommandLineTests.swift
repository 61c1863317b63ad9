import Foundation
import NeedletailTestSupport
import Testing

@testable import NeedletailServer

/// The options of the built program against the table of settings, which everything else derives from.
@Suite("Command line") struct CommandLineTests {
  /// Options that are no settings.
  private static let others: Set<String> = ["config", "print-config", "check", "version", "help"]

  /// What the program prints.
  private static func output(_ arguments: [String]) throws -> String {
    let directory = try TemporaryDirectory()
    let tests = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
    let program = URL(fileURLWithPath: tests).deletingLastPathComponent().appendingPathComponent("needletail-server")
    let process = try ChildProcess([program.path] + arguments, output: directory.file("output"))
    #expect(process.wait() == 0)
    return String(decoding: try directory.read("output"), as: UTF8.self)
  }

  @Test func itHasAnOptionForEachSettingWithAFlagAndNoOther() throws {
    let words = try Self.output(["--help"]).split { !($0.isLetter || $0 == "-") }
    let options = Set(words.filter { $0.hasPrefix("--") }.map { String($0.dropFirst(2)) })
    // The text about the program names others' options too.
    let flags = Set(ServerSetting.all.compactMap(\.flag))
    #expect(flags.subtracting(options) == [], "settings without their option")
    #expect(options.subtracting(flags).subtracting(Self.others) == [], "options without a setting")
  }

  @Test func everyOptionReachesItsSetting() throws {
    var arguments: [String] = []
    for setting in ServerSetting.all {
      guard let flag = setting.flag else { continue }
      arguments.append("--\(flag)")
      switch setting.kind {
      case .flag: break
      case .address: arguments.append("127.0.0.1:1")
      case .integer(let range): arguments.append("\(range.lowerBound)")
      case .seconds(let range): arguments.append("\(range.lowerBound)")
      case .share: arguments.append("0.5")
      case .choice(let words): arguments.append(words[words.count - 1])
      case .permissions: arguments.append("600")
      case .path, .names: arguments.append("given")
      }
    }
    // A line is `KEY: VALUE   # --FLAG`; nested keys stand without their first part.
    let lines = try Self.output(arguments + ["--print-config"]).split(separator: "\n")
    for setting in ServerSetting.all {
      guard let flag = setting.flag, let name = setting.key.split(separator: ".").last else { continue }
      let line = lines.first {
        $0.trimmingCharacters(in: .whitespaces).hasPrefix("\(name):") && $0.hasSuffix("# --\(flag)")
      }
      #expect(line != nil, "--\(flag) for \(setting.key)")
    }
  }
}
