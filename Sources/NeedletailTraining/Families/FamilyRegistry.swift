/// The model families by name. A new family is one file and one line here.
public enum FamilyRegistry {
  public static let all: [any ModelFamily] = [
    LinearRegression(),
    LogisticRegression(),
    MLP(),
  ]

  public static var names: [String] { all.map(\.name) }

  public static func family(named name: String) -> (any ModelFamily)? {
    all.first { $0.name == name }
  }

  static var summary: String {
    all.map { "\($0.name): \($0.summary)" }.joined(separator: " ")
  }
}
