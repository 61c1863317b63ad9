import ArgumentParser
import Foundation
import NeedletailSystem
import NeedletailTraining

struct InitCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "init",
    abstract: "Writes a commented run file for a CSV file.",
    discussion: "Infers column types and missing values, and shows every setting with its default.")

  @Argument(help: "A CSV file with a header.")
  var data: String

  @Option(help: ArgumentHelp("The column to predict; else the last one.", valueName: "column"))
  var target: String?

  @Option(
    help: ArgumentHelp(
      "\(FamilyRegistry.all.names.joined(separator: ", ")); else chosen by the target.", valueName: "name"))
  var family: String?

  @Option(name: .shortAndLong, help: ArgumentHelp("Where to write; else to the terminal.", valueName: "file"))
  var output: String?

  func run() throws {
    // Data paths of a run file are relative to it.
    let name: String
    if let output {
      let base = URL(fileURLWithPath: output).deletingLastPathComponent().standardizedFileURL.path + "/"
      let full = URL(fileURLWithPath: data).standardizedFileURL.path
      name = full.hasPrefix(base) ? String(full.dropFirst(base.count)) : full
    } else {
      name = data
    }
    let starter: StarterConfiguration
    do {
      starter = try StarterConfiguration(name: name, path: data, target: target, family: family)
    } catch {
      throw UserError(error)
    }
    guard let output else {
      print(starter.yaml, terminator: "")
      return
    }
    guard !FileManager.default.fileExists(atPath: output) else {
      throw UserError("\(output): expected no file there yet, found one; remove it or choose another name")
    }
    do {
      try AtomicFile.write(Array(starter.yaml.utf8), to: output, existing: .refused)
    } catch {
      throw UserError("\(output): expected to write it, found: \(error)")
    }
    FileHandle.standardError.write(Data("wrote \(output); next: needletail-trainer train \(output)\n".utf8))
  }
}
