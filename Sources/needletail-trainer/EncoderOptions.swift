public import ArgumentParser
public import NeedletailTraining

/// Options of `import` for Hugging Face folders.
struct EncoderOptions: ParsableArguments {
  @Option(help: ArgumentHelp("Folder of a LoRA adapter that is merged.", valueName: "folder"))
  var adapter: String?

  @Option(
    help: ArgumentHelp(
      "How tokens become an embedding where the folder has no modules.json: mean, cls or max.", valueName: "mode"))
  var pooling: String?

  @Flag(help: "Each row has two texts, in the columns text and pair.")
  var pair = false

  @Option(help: ArgumentHelp("auto (int8 where answers stay close to those of fp32) or fp32.", valueName: "format"))
  var precision: EncoderImportSettings.Precision?

  @Option(help: ArgumentHelp("Tokens that longer texts are cut off to; else what the folder says.", valueName: "n"))
  var tokens: Int?

  /// The first option that was given; nil: none.
  var given: String? {
    if adapter != nil { return "--adapter" }
    if pooling != nil { return "--pooling" }
    if pair { return "--pair" }
    if precision != nil { return "--precision" }
    return tokens == nil ? nil : "--tokens"
  }

  func settings(_ common: ImportSettings) -> EncoderImportSettings {
    var settings = EncoderImportSettings(model: common.model)
    settings.adapter = adapter
    settings.pooling = pooling
    settings.isPair = pair
    settings.precision = precision ?? .auto
    settings.tokensMax = tokens
    settings.labels = common.labels
    settings.target = common.target
    settings.data = common.data
    settings.expected = common.expected
    return settings
  }
}

extension EncoderImportSettings.Precision: ExpressibleByArgument {}
