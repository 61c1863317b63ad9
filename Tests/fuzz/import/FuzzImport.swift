internal import FuzzDriver
internal import NeedletailCore
internal import NeedletailEngine
internal import NeedletailTraining

/// Reads the bytes as a model file of another library, which must become a graph or a refusal, never a trap.
///
/// The corpus starts from small models of every format. What becomes a graph is compiled, and answers the rows that the
/// trainer makes for a model without data.
@main
enum FuzzImport {
  static func main() {
    fuzz { data, count in
      FuzzImport.check(Array(UnsafeBufferPointer(start: data, count: count)))
      return 0
    }
  }

  private static func check(_ bytes: [UInt8]) {
    guard let name = try? ModelID("fuzz") else { preconditionFailure("letters are a model's name") }
    let imported: ImportedModel
    let definition: ModelDefinition
    do {
      imported = try ModelImport.parse(bytes, ImportSettings(model: name))
      definition = try imported.definition(labels: [], target: "y")
    } catch {
      precondition(!error.message.isEmpty, "a refusal without words")
      return
    }
    var options = PlanOptions()
    options.rowsMax = 2
    options.isa = .scalar
    // A file may ask for more columns than there should be memory for in a test.
    guard definition.graph.values.allSatisfy({ $0.columns < 1 << 12 }),
      let model = try? CompiledModel(definition, options: options)
    else { return }
    let rows = SampleRows.made(for: imported)
    do {
      let answers = try model.answers(for: rows)
      precondition(!answers.isEmpty, "a model without answers")
    } catch {
      precondition(!error.message.isEmpty, "a refusal without words")
    }
  }
}
