public import CNeedletailProto
internal import NeedletailCore

/// A sum of decision trees, bit for bit as the library that grew them adds it up.
///
/// y = (start + leaf of tree 0 + leaf of tree 1 + …) / divisor + bias, for each output, in the order of the trees and in
/// the type of the source. Sigmoid, softmax and other links are nodes of their own behind it.
///
/// The arrays are those of the message: trees stand in preorder, so there is no child index that could be wrong and no
/// cycle. What holds in the message's fields is told in `bundle.proto`.
public struct TreeEnsemble: GraphOperation {
  /// The comparison that sends a row to the left child of a numeric split with threshold t. NaN is treated as
  /// ``Missing`` says.
  public enum Comparison: UInt8, Sendable, CaseIterable {
    /// x < t, as in XGBoost.
    case below = 0
    /// x ≤ t, as in LightGBM, CatBoost and scikit-learn.
    case atMost = 1
  }

  /// The type that sums, start, bias and divisor are computed in. Raw values are those of `needletail.v1.DataType`.
  public enum Sums: UInt8, Sendable, CaseIterable {
    case float32 = 1
    case float64 = 2
  }

  /// The way of a missing value, which is NaN, at a split.
  public enum Missing: UInt8, Sendable, CaseIterable, BitwiseCopyable {
    case left = 0
    case right = 1
    /// It counts as 0.
    case asZero = 2
    /// Values within ``tiny`` of 0 are missing as well.
    case orZeroLeft = 3
    case orZeroRight = 4

    var takesZeros: Bool { self == .orZeroLeft || self == .orZeroRight }
  }

  /// Largest magnitude that LightGBM takes for zero, as its fp32 constant.
  public static let tiny = Double(Float(1e-35))

  public var comparison: Comparison
  public var sums: Sums
  /// Values within ``tiny`` of 0 count as 0.
  public var flushesTiny = false
  /// All trees, each in preorder: 0 is a leaf; column + 1 is a split, with its left and then its right subtree behind it.
  public var nodes: [UInt32]
  /// One for each split; 0 for categorical ones.
  public var thresholds: [Double]
  /// One for each split; none: ``Missing/left`` for all.
  public var missing: [Missing] = []
  /// One for each split: 0 for a numeric one, else the number of its set, from 1; none: all are numeric.
  public var sets: [UInt32] = []
  /// Words of each set of categories, whose members go left.
  public var setWords: [UInt32] = []
  /// The words of all sets; bit b of word w is category 32 w + b.
  public var setBits: [UInt32] = []
  /// Values of each leaf: 1, or one for each output.
  public var leafWidth = 1
  public var leaves: [Double]
  /// The output of each tree; none: output 0, or all where leaves have a value for each.
  public var treeOutputs: [UInt32] = []
  /// One for each output; none: zeros.
  public var start: [Double] = []
  public var bias: [Double] = []
  public var divisor = 1.0
  /// Weight of the training rows in each leaf; none: it is not known. Answers do not depend on it.
  public var covers: [Float] = []

  public init(comparison: Comparison, sums: Sums, nodes: [UInt32], thresholds: [Double], leaves: [Double]) {
    self.comparison = comparison
    self.sums = sums
    self.nodes = nodes
    self.thresholds = thresholds
    self.leaves = leaves
  }

  // MARK: message

  public init(_ message: Needletail__V1__TreeEnsemble) throws(GraphFault) {
    self.init(
      comparison: try MessageValues.known(message.comparison.rawValue, as: Comparison.self, "comparison"),
      sums: try MessageValues.known(message.sums.rawValue, as: Sums.self, "sums"),
      nodes: MessageValues.array(message.node, message.n_node),
      thresholds: MessageValues.array(message.threshold, message.n_threshold),
      leaves: MessageValues.array(message.leaf, message.n_leaf))
    flushesTiny = message.flushes_tiny != 0
    let codes = UnsafeBufferPointer(start: message.missing.data, count: message.missing.len)
    missing.reserveCapacity(codes.count)
    for (split, code) in codes.enumerated() {
      missing.append(try MessageValues.known(UInt32(code), as: Missing.self, "missing, split \(split)"))
    }
    sets = MessageValues.array(message.set, message.n_set)
    setWords = MessageValues.array(message.set_words, message.n_set_words)
    setBits = MessageValues.array(message.set_bits, message.n_set_bits)
    leafWidth = message.leaf_width == 0 ? 1 : Int(message.leaf_width)
    treeOutputs = MessageValues.array(message.tree_output, message.n_tree_output)
    start = MessageValues.array(message.start, message.n_start)
    bias = MessageValues.array(message.bias, message.n_bias)
    divisor = message.divisor == 0 ? 1 : message.divisor
    covers = MessageValues.array(message.cover, message.n_cover)
  }

  public func message(in memory: MessageBuilder) -> UnsafeMutablePointer<Needletail__V1__TreeEnsemble>? {
    memory.build(needletail__v1__tree_ensemble__init) {
      $0.comparison = Needletail__V1__TreeComparison(UInt32(comparison.rawValue))
      $0.sums = Needletail__V1__DataType(UInt32(sums.rawValue))
      $0.flushes_tiny = flushesTiny ? 1 : 0
      ($0.n_node, $0.node) = (nodes.count, memory.array(nodes))
      ($0.n_threshold, $0.threshold) = (thresholds.count, memory.array(thresholds))
      $0.missing = memory.data(missing.map(\.rawValue))
      ($0.n_set, $0.set) = (sets.count, memory.array(sets))
      ($0.n_set_words, $0.set_words) = (setWords.count, memory.array(setWords))
      ($0.n_set_bits, $0.set_bits) = (setBits.count, memory.array(setBits))
      $0.leaf_width = leafWidth == 1 ? 0 : UInt32(clamping: leafWidth)
      ($0.n_leaf, $0.leaf) = (leaves.count, memory.array(leaves))
      ($0.n_tree_output, $0.tree_output) = (treeOutputs.count, memory.array(treeOutputs))
      ($0.n_start, $0.start) = (start.count, memory.array(start))
      ($0.n_bias, $0.bias) = (bias.count, memory.array(bias))
      $0.divisor = divisor == 1 ? 0 : divisor
      ($0.n_cover, $0.cover) = (covers.count, memory.array(covers))
    }
  }

  // MARK: cost and words

  public var parameterCount: Int { thresholds.count + leaves.count + start.count + bias.count }
  public var words: String { "tree ensemble, \(comparison == .below ? "<" : "≤"), sums in \(sums)" }

  /// Without its trees: what is kept of a model once its plan holds them.
  public var structure: TreeEnsemble {
    TreeEnsemble(comparison: comparison, sums: sums, nodes: [], thresholds: [], leaves: [])
  }

  // MARK: reference

  public func reference(_ inputs: [[Double]], _ context: OperationContext) -> [[Double]] {
    guard let shape = try? TreeShape(nodes) else { preconditionFailure("a checked ensemble has whole trees") }
    let row = inputs[0]
    let outputs = context.outputs[0].columns
    let zeros = [Double](repeating: 0, count: outputs)
    var wide = start.isEmpty ? zeros : start
    var narrow = wide.map { Float($0) }
    for (index, tree) in shape.trees.enumerated() {
      let leaf = leaf(of: row, tree, shape)
      let first = treeOutputs.isEmpty ? 0 : Int(treeOutputs[index])
      for place in 0..<leafWidth {
        wide[first + place] += leaves[leaf * leafWidth + place]
        narrow[first + place] += Float(leaves[leaf * leafWidth + place])
      }
    }
    return [
      (0..<outputs).map { output in
        let added = bias.isEmpty ? 0 : bias[output]
        switch sums {
        case .float32:
          let sum = divisor == 1 ? narrow[output] : narrow[output] / Float(divisor)
          return Double(bias.isEmpty ? sum : sum + Float(added))
        case .float64:
          let sum = divisor == 1 ? wide[output] : wide[output] / divisor
          return Double(Float(bias.isEmpty ? sum : sum + added))
        }
      }
    ]
  }

  /// The leaf in which a row ends, among those of all trees.
  func leaf(of row: [Double], _ tree: TreeShape.Tree, _ shape: TreeShape) -> Int {
    var reference: Int32 = tree.splits == 0 ? ~0 : 0
    while reference >= 0 {
      let split = tree.firstSplit + Int(reference)
      reference = goesLeft(row[Int(shape.columns[split])], split) ? shape.left[split] : shape.right[split]
    }
    return tree.firstLeaf + Int(~reference)
  }

  /// Whether a value goes left at a split.
  ///
  /// - Parameter firstWords: what ``firstWords`` says, for callers that ask often; nil counts anew.
  func goesLeft(_ value: Double, _ split: Int, firstWords: [Int]? = nil) -> Bool {
    let missing = self.missing.isEmpty ? .left : self.missing[split]
    var x = value
    if flushesTiny, abs(x) <= Self.tiny { x = 0 }
    if x.isNaN || (missing.takesZeros && abs(x) <= Self.tiny) {
      switch missing {
      case .left, .orZeroLeft: return true
      case .right, .orZeroRight: return false
      case .asZero: x = 0
      }
    }
    let set = sets.isEmpty ? 0 : Int(sets[split])
    if set > 0 { return isMember(x, of: set - 1, firstWord: firstWords?[set - 1]) }
    return comparison == .below ? x < thresholds[split] : x <= thresholds[split]
  }

  /// Place of the first word of each set.
  var firstWords: [Int] {
    var next = 0
    return setWords.map { words in
      defer { next += Int(words) }
      return next
    }
  }

  /// Whether a number, truncated to an integer, is in a set.
  func isMember(_ x: Double, of set: Int, firstWord: Int? = nil) -> Bool {
    let first = firstWord ?? setWords[..<set].reduce(0) { $0 + Int($1) }
    guard x > -1, x < Double(setWords[set]) * 32 else { return false }
    let code = Int(x)
    return setBits[first + code / 32] >> UInt32(code % 32) & 1 == 1
  }
}
