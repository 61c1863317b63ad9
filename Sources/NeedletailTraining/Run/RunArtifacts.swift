internal import Foundation

/// Writes what a run leaves behind, each file whole or not at all.
public struct RunArtifacts {
  public let directory: String

  public init(directory: String) { self.directory = directory }

  public var bundlePath: String { directory + "/model.ntb" }

  /// Writes `model.ntb`, `metrics.json`, `predictions.csv`, `test.csv` and `split.csv`.
  public func write(_ trained: TrainedModel, bundle: [UInt8], metrics: Document) throws(TrainingError) {
    do {
      try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
    } catch {
      throw .output("\(directory): expected a directory to write into, found: \(error.localizedDescription)")
    }
    try write(Data(bundle), to: "model.ntb")
    try write(Data(metrics.json.utf8), to: "metrics.json")
    try write(Data(trained.predictionsCSV.utf8), to: "predictions.csv")
    try write(Data(trained.testCSV.utf8), to: "test.csv")
    try write(Data(trained.splitCSV.utf8), to: "split.csv")
  }

  private func write(_ data: Data, to name: String) throws(TrainingError) {
    do {
      try data.write(to: URL(fileURLWithPath: directory + "/" + name), options: .atomic)
    } catch {
      throw .output("\(directory)/\(name): expected to write it, found: \(error.localizedDescription)")
    }
  }
}
