/// The version of this product, as `--version` prints it.
public let needletailVersion = "0.1.0"

/// The engine generation, raised when graphs gain an operation that older servers cannot run. A bundle names the lowest
/// generation that runs it.
public let engineGeneration: UInt32 = 1
