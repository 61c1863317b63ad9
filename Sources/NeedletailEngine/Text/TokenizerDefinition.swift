/// What makes tokens of text: the vocabulary and every setting, as a bundle's message `Tokenizer` and Hugging Face's
/// `tokenizer.json` say them. ``Tokenizer`` is made from it.
public struct TokenizerDefinition: Equatable, Sendable {
  /// How a text becomes tokens of the vocabulary, and what happens to it before.
  public enum Model: Equatable, Sendable {
    case wordPieces(WordPieces)
    case bytePairs(BytePairs)
    case unigrams(Unigrams)
  }

  /// The longest token that begins a word, again and again: BERT.
  public struct WordPieces: Equatable, Sendable {
    /// In front of a token that goes on inside a word.
    public var continuingPrefix = "##"
    /// A word of more characters is unknown.
    public var wordCharactersMax = 100
    /// Control characters go, and every white space becomes a space.
    public var cleansText = true
    /// Each Chinese ideograph is a word.
    public var splitsIdeographs = true
    public var stripsAccents = true
    public var lowercases = true

    public init() {}
  }

  /// Bytes merged in pairs, as in GPT-2 and RoBERTa. Tokens are written in GPT-2's alphabet, which has a character for
  /// each byte; text is split by GPT-2's regular expression.
  public struct BytePairs: Equatable, Sendable {
    /// Two ids for each merge, in the order in which they are merged.
    public var merges: [UInt32] = []
    /// A word that is a token is not merged from its bytes.
    public var ignoresMerges = false
    /// A space comes in front of a text where there is none.
    public var prefixesSpace = false
    /// Spaces at its ends are not part of what a token covers.
    public var trimsOffsets = false
    /// But the first token keeps a space that was put in front: the post-processor's `add_prefix_space`.
    public var keepsPrefixSpace = false

    public init() {}
  }

  /// Where a mark for a space is put in front of a text. Raw values are those of `needletail.v1.SpaceMark`.
  public enum SpaceMark: UInt8, Sendable, CaseIterable {
    case never = 0
    /// Where the text begins, not behind an added token.
    case first = 1
    case always = 2
  }

  /// The tokens of a word whose scores have the largest sum: SentencePiece's models.
  public struct Unigrams: Equatable, Sendable {
    /// One for each token.
    public var scores: [Double] = []
    /// Text that no token covers becomes tokens of its bytes.
    public var fallsBackToBytes = false
    /// SentencePiece's precompiled map of characters; empty: text stays as it is.
    public var characterMap: [UInt8] = []
    public var stripsLeft = false
    public var stripsRight = false
    /// Several spaces become one.
    public var collapsesSpaces = false
    /// Words end at white space.
    public var splitsSpaces = false
    /// Words end at the mark.
    public var splitsMarks = false
    public var spaceMark = SpaceMark.never

    public init() {}
  }

  /// A text that is a token wherever it stands. A token of the model has the model's id.
  public struct AddedToken: Equatable, Sendable {
    public var text: String
    public var id: UInt32
    /// Only where no letter, digit or underscore is beside it.
    public var isSingleWord = false
    /// White space on its left is part of it.
    public var stripsLeft = false
    /// White space on its right is part of it.
    public var stripsRight = false
    /// It is looked for in the normalised text.
    public var isNormalised = false

    public init(_ text: String, id: UInt32) {
      self.text = text
      self.id = id
    }
  }

  /// One part of a template: a special token, or all tokens of a text.
  public struct Piece: Equatable, Sendable {
    /// Raw values are those of `needletail.v1.TemplatePart`.
    public enum Part: UInt8, Sendable, CaseIterable {
      case special = 0
      case first = 1
      case second = 2
    }

    public var part: Part
    /// Id of a special token; 0 for texts.
    public var id: UInt32
    /// Token type of all its tokens.
    public var type: UInt8

    public init(_ part: Part, id: UInt32 = 0, type: UInt8 = 0) {
      self.part = part
      self.id = id
      self.type = type
    }
  }

  /// Which of the texts loses tokens where there are too many. Raw values are those of `needletail.v1.Truncation`.
  public enum Truncation: UInt8, Sendable, CaseIterable {
    case keepAll = 0
    /// The longer text, until both fit.
    case longestFirst = 1
    case onlyFirst = 2
    case onlySecond = 3
  }

  public var model: Model
  public var tokens: PackedTexts
  /// Id of each token; empty: 0, 1, 2 and so on.
  public var ids: [UInt32] = []
  /// Id of the token for text that no token covers; nil: there is none.
  public var unknown: UInt32?
  /// Whether unknown tokens are left out of the answer, once texts are truncated: static embeddings have them not in their
  /// mean.
  public var dropsUnknown = false
  public var added: [AddedToken] = []
  /// What stands around one text; empty: the text alone.
  public var single: [Piece] = []
  /// What stands around two texts; empty: the texts alone, the second of type 1.
  public var pair: [Piece] = []
  public var truncation = Truncation.keepAll
  /// Tokens that remain after truncation, those of the template included; 0 exactly where all are kept.
  public var tokensMax = 0

  public init(model: Model, tokens: PackedTexts) {
    self.model = model
    self.tokens = tokens
  }
}
