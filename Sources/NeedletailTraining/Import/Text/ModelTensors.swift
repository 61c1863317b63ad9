internal import NeedletailCore

/// The tensors of a folder by their names: of one safetensors file, or of several that an index names, as transformers
/// writes large models.
///
/// The index is a JSON object whose `weight_map` says for each tensor which file of the folder it lies in. Documented at
/// https://huggingface.co/docs/transformers/big_models.
final class ModelTensors {
  /// The file, or the index of several.
  let path: String
  private let files: [TensorFile]
  /// Which file each tensor lies in.
  private let places: [ForeignKey: Int]

  static let fileName = "model.safetensors"
  static let indexName = "model.safetensors.index.json"

  /// The tensors of one file.
  init(_ file: TensorFile) {
    path = file.path
    files = [file]
    places = Dictionary(uniqueKeysWithValues: file.names.map { (ForeignKey($0), 0) })
  }

  private init(path: String, files: [TensorFile], places: [ForeignKey: Int]) {
    (self.path, self.files, self.places) = (path, files, places)
  }

  /// Opens `model.safetensors` or, where there is none, the files that `model.safetensors.index.json` names.
  ///
  /// - Throws: `TrainingError` that names the file, the tensor, what was expected and what was found.
  static func read(_ folder: ForeignFolder) throws(TrainingError) -> ModelTensors {
    if folder.has(fileName) { return ModelTensors(try TensorFile(folder.path(fileName))) }
    guard folder.has(indexName) else {
      throw .importing("\(folder.path): expected a Hugging Face folder with \(fileName), found none")
    }
    let document = try folder.json(indexName)
    let named = try folder.naming(indexName) { () throws(TrainingError) in try names(document) }
    let path = folder.path(indexName)
    var files: [TensorFile] = []
    var places: [ForeignKey: Int] = [:]
    for name in Set(named.values).sorted() {
      let file = try TensorFile(folder.path(name))
      // A tensor that the index does not name, or names elsewhere, makes the file one of another model.
      for tensor in file.names where named[ForeignKey(tensor)] != name {
        let found = named[ForeignKey(tensor)].map { "it in \($0)" } ?? "no such entry"
        throw .importing(
          "\(path): weight_map.\(tensor): expected \(name.quotedForMessage), which has it, found \(found)")
      }
      for tensor in file.names { places[ForeignKey(tensor)] = files.count }
      files.append(file)
    }
    for (tensor, name) in named.sorted(by: { $0.key.text < $1.key.text }) where places[tensor] == nil {
      throw .importing(
        "\(folder.path(name)): expected tensor \(tensor.text.quotedForMessage), which \(indexName) names, found none")
    }
    return ModelTensors(path: path, files: files, places: places)
  }

  /// Files by the names of their tensors. A folder may not send its reader elsewhere.
  private static func names(_ document: ForeignField) throws(TrainingError) -> [ForeignKey: String] {
    let map = try document.required("weight_map")
    let fields = try map.fields
    guard (1...Limits.foreignTensorsMax).contains(fields.count) else {
      throw map.fault("1 to \(Limits.foreignTensorsMax) tensors", found: "\(fields.count)")
    }
    var named: [ForeignKey: String] = [:]
    var files: Set<String> = []
    for (tensor, field) in fields {
      let name = try field.text
      guard name.hasSuffix(".safetensors"), !name.utf8.contains(where: { $0 == UInt8(ascii: "/") || $0 == 0 }) else {
        throw field.fault("the name of a file NAME.safetensors beside it", found: name.quotedForMessage)
      }
      named[ForeignKey(tensor)] = name
      files.insert(name)
    }
    guard files.count <= Limits.foreignTensorFilesMax else {
      throw map.fault("at most \(Limits.foreignTensorFilesMax) files", found: "\(files.count)")
    }
    return named
  }

  var names: [String] { places.keys.map(\.text).sorted() }

  func has(_ name: String) -> Bool { places[ForeignKey(name)] != nil }

  /// Shape of a tensor; nil where there is none of that name.
  func shape(of name: String) -> [Int]? { places[ForeignKey(name)].flatMap { files[$0].shape(of: name) } }

  /// Numbers of a tensor; see ``TensorFile/floats(_:shape:readsIntegers:)``.
  func floats(
    _ name: String, shape: [Int?], readsIntegers: Bool = false
  ) throws(TrainingError) -> (floats: [Float], shape: [Int]) {
    try file(of: name).floats(name, shape: shape, readsIntegers: readsIntegers)
  }

  /// Whole numbers of a tensor; see ``TensorFile/integers(_:count:in:)``.
  func integers(_ name: String, count: Int, in range: Range<Int>) throws(TrainingError) -> [Int] {
    try file(of: name).integers(name, count: count, in: range)
  }

  /// The file of a tensor; any file says that it has no tensor of that name.
  private func file(of name: String) -> TensorFile { files[places[ForeignKey(name)] ?? 0] }
}
