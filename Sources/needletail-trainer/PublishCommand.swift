import ArgumentParser
import Foundation
import NeedletailBundle
import NeedletailCore
import NeedletailTraining

struct PublishCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "publish",
    abstract: "Puts a trained bundle into a store, under the next version unless told otherwise.",
    discussion: "Signs it with the key given; an unsigned bundle is served only with --allow-unsigned.")

  @Argument(help: ArgumentHelp("A bundle, such as the model.ntb of a run.", valueName: "model.ntb"))
  var bundle: String

  @Option(help: ArgumentHelp("The store's directory.", valueName: "dir"))
  var store: String

  @Option(help: ArgumentHelp("Signs the bundle; see: needletail bundle keygen.", valueName: "file"))
  var key: String?

  @Option(help: ArgumentHelp("The version; else the next free one.", valueName: "n"))
  var version: UInt64?

  @Flag(help: "Prints model, version and path as JSON.")
  var json = false

  func validate() throws {
    if version == 0 { throw ValidationError("--version: expected a number from 1, found 0") }
  }

  func run() throws {
    do {
      let published = try Publishing.republish(path: bundle, store: store, key: key, version: version)
      if json {
        let document = Document.section([
          .init("model", .text(published.model.name)),
          .init("version", .integer(Int(clamping: published.version.number))),
          .init("path", .text(published.path)),
        ])
        print(document.json, terminator: "")
      } else {
        print("published \(published.model) \(published.version): \(published.path)")
      }
    } catch {
      throw UserError(error)
    }
  }
}
