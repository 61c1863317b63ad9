internal import Glibc
internal import NeedletailCore
public import NeedletailEngine
internal import NeedletailSystem

/// Finds and reads the tokenizer of a Hugging Face folder.
public enum TokenizerFile {
  /// Reads `tokenizer.json`, or `vocab.txt` with the `tokenizer_config.json` beside it.
  ///
  /// - Parameter path: one of these two files, or a folder with one of them; `tokenizer.json` comes first.
  /// - Throws: `TrainingError` that names the file and what is wrong in it.
  public static func read(_ path: String) throws(TrainingError) -> Tokenizer {
    let folder = ForeignFolder(path)
    if folder.isFolder {
      if folder.has("tokenizer.json") { return try read(folder.path("tokenizer.json")) }
      if folder.has("vocab.txt") { return try read(folder.path("vocab.txt")) }
      throw .importing("\(path): expected tokenizer.json or vocab.txt in the folder, found neither")
    }
    do throws(TrainingError) {
      let bytes = try ForeignFile.read(path, bytesMax: Limits.tokenizerFileBytesMax)
      let definition =
        ForeignFile.name(path) == "vocab.txt"
        ? try VocabularyImport.read(bytes, configuration: configuration(beside: path))
        : try TokenizerImport.read(bytes)
      do throws(GraphFault) { return try Tokenizer(definition) } catch { throw .importing(error.message) }
    } catch {
      throw error.message.hasPrefix(path) ? error : TrainingError(error.kind, "\(path): \(error.message)")
    }
  }

  private static func configuration(beside path: String) throws(TrainingError) -> [UInt8]? {
    let folder = ForeignFolder(path.contains("/") ? String(path[..<path.lastIndex(of: "/")!]) : ".")
    guard folder.has("tokenizer_config.json") else { return nil }
    return try ForeignFile.read(folder.path("tokenizer_config.json"), bytesMax: Limits.tokenizerFileBytesMax)
  }
}

/// A folder of foreign files.
struct ForeignFolder {
  let path: String

  init(_ path: String) { self.path = path.count > 1 && path.hasSuffix("/") ? String(path.dropLast()) : path }

  /// Whether the path leads to a folder.
  var isFolder: Bool {
    var status = stat()
    return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
  }

  func has(_ name: String) -> Bool { access(path(name), F_OK) == 0 }

  func path(_ name: String) -> String { "\(path)/\(name)" }

  /// A JSON file of the folder.
  func json(_ name: String) throws(TrainingError) -> ForeignField {
    let bytes = try ForeignFile.read(path(name), bytesMax: Limits.tokenizerFileBytesMax)
    return try naming(name) { () throws(TrainingError) in ForeignField(value: try ForeignJSON.read(bytes), path: "") }
  }

  /// Puts a file's name in front of the faults that are found in it.
  func naming<Result>(
    _ name: String, _ body: () throws(TrainingError) -> Result
  ) throws(TrainingError) -> Result {
    do throws(TrainingError) { return try body() } catch {
      throw TrainingError(error.kind, "\(path(name)): \(error.message)")
    }
  }
}

/// Bytes of a foreign file, at most so many.
enum ForeignFile {
  static func read(_ path: String, bytesMax: Int = Limits.foreignFileBytesMax) throws(TrainingError) -> [UInt8] {
    var bytes: [UInt8] = []
    do throws(SystemError) {
      let file = try FileDescriptor(opening: path, O_RDONLY)
      try file.forEachPiece(ofBytes: 1 << 20) { piece in
        bytes.append(contentsOf: piece)
        return bytes.count <= bytesMax
      }
    } catch {
      throw .importing("\(path): expected a readable file, found: \(error.reason)")
    }
    guard bytes.count <= bytesMax else { throw .importing("\(path): expected at most \(bytesMax) bytes, found more") }
    return bytes
  }

  /// The last part of a path.
  static func name(_ path: String) -> Substring { path.split(separator: "/").last ?? "" }
}
