import NeedletailTestSupport
import Testing

@testable import NeedletailTraining

@Suite struct TableReaderTests {
  private let directory: TemporaryDirectory

  init() throws { directory = try TemporaryDirectory() }

  @Test func infersNumbersBoolsAndCategories() throws {
    let data = try directory.dataset(
      "id,size,fresh,colour,price\n1,1.5,true,red,10.5\n2,NA,FALSE,\"blue, dark\",11\n3,?,true,,12.25\n",
      target: "price")
    #expect(data.features.columns.map(\.name) == ["id", "size", "fresh", "colour"])
    guard case .numbers(let sizes) = data.features.columns[1].values,
      case .numbers(let fresh) = data.features.columns[2].values,
      case .categories(let codes, let categories) = data.features.columns[3].values,
      case .numbers(let prices) = data.target.values
    else {
      Issue.record("wrong types: \(data.features.columns)")
      return
    }
    #expect(sizes[0] == 1.5 && sizes[1].isNaN && sizes[2].isNaN)
    #expect(fresh == [1, 0, 1])
    #expect(codes == [0, 1, -1] && categories == ["red", "blue, dark"])
    #expect(prices == [10.5, 11, 12.25])
  }

  @Test(arguments: [
    ("0\n1\n2\n", true), ("a\nb\n", true), ("true\nfalse\n", true), ("0.5\n1\n", false),
    ((0..<21).map { "\($0)\n" }.joined(), false),
  ])
  func tellsClassesFromQuantities(values: String, isClassification: Bool) throws {
    let rows = values.split(separator: "\n").enumerated().map { "\($0.offset),\($0.element)\n" }.joined()
    let data = try directory.dataset("x,t\n" + rows, target: "t")
    if case .categories = data.target.values {
      #expect(isClassification)
    } else {
      #expect(!isClassification)
    }
  }

  /// Columns whose first values look like another type than all of them, beside the same columns declared.
  @Test(arguments: [
    (["1", "2.5", "", "3"], TableRequest.ColumnType.numeric), (["", "NA", "7", "-1e3"], .numeric),
    (["007", "8", " 9 ", "9007199254740993"], .numeric), (["1", "\"NA\"", "2", "3"], .numeric),
    (["red", "blue", "", "red"], .categorical), (["\"NA\"", "red", "blue", ""], .categorical),
    (["red", "\"NA\"", "blue", ""], .categorical), (["1", "a", "b", "2"], .categorical),
    (["a", "1", "2", "b"], .categorical), (["true", "0", "1", ""], .bool), (["0", "1", "true", "false"], .bool),
    (["2024-01-31", "2024-02-01", "", "2023-12-31"], .datetime),
    (["01/02/2024", "13/02/2024", "01/02/2024", "01/02/2024", "13/02/2024"], .datetime),
    (["05/02/2024", "01/02/2024", "05/02/2024", "01/02/2024"], .datetime),
    (["a b", "", "a  b ", "A B", "", "a b", "\"a b\""], .categorical),
  ])
  func aColumnReadsAsIfItsTypeWereDeclared(values: [String], type: TableRequest.ColumnType) throws {
    let csv = "x,t\n" + values.enumerated().map { "\($1),\($0 % 2 == 0 ? "p" : "q")\n" }.joined()
    let path = try directory.write(csv, to: "data.csv")
    var request = TableRequest(files: [("data.csv", path)], target: "t")
    let found = try TableReader(request).read()
    request.types = [("x", type)]
    request.targetUse = .classification
    let declared = try TableReader(request).read()
    #expect(found.types == [type, .categorical])
    // As text, for NaN is not equal to itself.
    #expect("\(found.features.columns)" == "\(declared.features.columns)")
    #expect(found.target == declared.target)
    #expect(found.warnings == declared.warnings && found.sha256 == declared.sha256)
  }

  @Test func aColumnOfMoreCategoriesThanADraftKeepsIsReadWhole() throws {
    let count = ColumnDraft.categoriesMax + 10
    let long = String(repeating: "x", count: ColumnDraft.categoryBytesMax + 1)
    let rows = (0..<count).map { "c\($0),\($0 == count - 1 ? long : "short"),\($0 % 2 == 0 ? "p" : "q")\n" }
    let data = try directory.dataset("many,long,t\n" + rows.joined(), target: "t")
    guard case .categories(let codes, let names) = data.features.columns[0].values,
      case .categories(let longCodes, let longNames) = data.features.columns[1].values
    else {
      Issue.record("wrong types: \(data.types)")
      return
    }
    #expect(codes == (0..<Int32(count)).map { $0 } && names.count == count && names[count - 1] == "c\(count - 1)")
    #expect(longCodes.last == 1 && longNames == ["short", long])
  }

  @Test func mergesFilesByNameAndNumbersTheirRows() throws {
    let a = try directory.write("x,y,t\n1,2,p\n3,4,q\n", to: "a.csv")
    let b = try directory.write("t,x,y\np,5,6\n", to: "b.csv")
    let data = try TableReader(TableRequest(files: [("a.csv", a), ("b.csv", b)], target: "t")).read()
    #expect(data.features.columns.map(\.values) == [.numbers([1, 3, 5]), .numbers([2, 4, 6])])
    #expect(data.features.rowNumbers == [1, 2, 3])
    #expect(data.sha256.count == 64)
  }

  @Test func dropsDuplicatesOnRequestAndUnlabelledRowsAndCountsThem() throws {
    let csv = "x,c,t\n1,a,p\n1,a,p\n1,,p\n1,,p\n1,b,p\n2,a,\n1,a,q\n"
    let data = try directory.dataset(csv, target: "t", dropsDuplicates: true)
    #expect(data.rowsRead == 7)
    #expect(data.duplicates == 2 && data.duplicatesDropped == 2)
    #expect(data.unlabelledDropped == 1)
    #expect(data.features.rowNumbers == [1, 3, 5, 7])
  }

  @Test func keepsDuplicatesAndCountsThemUnlessAskedOtherwise() throws {
    let kept = try directory.dataset("x,t\n1,p\n1,p\n2,q\n", target: "t")
    #expect(kept.rowCount == 3)
    #expect(kept.duplicates == 1 && kept.duplicatesDropped == 0)
  }

  @Test func rowsThatDifferInADroppedColumnAreNoDuplicates() throws {
    // Two customers of one plan in one month: without their numbers they look alike.
    let path = try directory.write("id,plan,t\n1,a,yes\n2,a,yes\n2,a,yes\n", to: "data.csv")
    let data = try TableReader(
      TableRequest(files: [("data.csv", path)], target: "t", drop: ["id"], dropsDuplicates: true)
    ).read()
    #expect(data.features.rowNumbers == [1, 2])
  }

  @Test func numbersThatRoundToOneDoubleAreNoDuplicates() throws {
    let rows = (0..<64).map { "\(9_007_199_254_740_992 + $0),p\n" }.joined()
    let data = try directory.dataset("id,t\n\(rows)", target: "t", dropsDuplicates: true)
    #expect(data.rowCount == 64)
  }

  @Test func duplicatesAreFoundAcrossFilesWhoseColumnsStandInAnotherOrder() throws {
    let a = try directory.write("x,y,t\n1,2,p\n3,4,q\n", to: "a.csv")
    let b = try directory.write("t,y,x\np,2,1\np,1,2\n", to: "b.csv")
    let data = try TableReader(
      TableRequest(files: [("a.csv", a), ("b.csv", b)], target: "t", dropsDuplicates: true)
    ).read()
    #expect(data.features.rowNumbers == [1, 2, 4])
  }

  @Test func spellingsThatUnicodeHoldsEqualAreOneTextAsTheyAreToTheServer() throws {
    // The first é is one scalar, the second an e and an accent.
    let data = try directory.dataset("cafe\u{301},t\nr\u{E9},p\nre\u{301},q\n r\u{E9},q\n", target: "t")
    guard case .categories(let codes, let categories) = data.features.columns[0].values else {
      Issue.record("expected categories")
      return
    }
    #expect(codes == [0, 0, 0])
    #expect(categories.map { Array($0.utf8) } == [Array("r\u{E9}".utf8)])
    #expect(data.features.columns.map { Array($0.name.utf8) } == [Array("caf\u{E9}".utf8)])
    let chosen = try TableReader(
      TableRequest(files: [("data.csv", directory.file("data.csv"))], target: "t", columns: ["cafe\u{301}"])
    ).read()
    #expect(chosen.features.columns.map { Array($0.name.utf8) } == [Array("caf\u{E9}".utf8)])
  }

  @Test func spacesAroundANameDoNotBelongToIt() throws {
    let data = try directory.dataset("x , c,\" t \"\n1,2,p\n", target: "t ")
    #expect(data.features.columns.map(\.name) == ["x", "c"] && data.target.name == "t")
  }

  @Test func columnsWithoutANameAreLeftOutAndTheUserIsTold() throws {
    let data = try directory.dataset(",x, ,t\n0,1,5,p\n1,2,6,q\n", target: "t")
    #expect(data.features.columns.map(\.name) == ["x"])
    #expect(data.warnings == ["2 columns without a name are left out"])
    #expect(try directory.dataset(",x,t\n0,1,p\n", target: "t").warnings == ["a column without a name is left out"])
  }

  @Test func keepsChosenColumnsOnlyAndInTheirOrder() throws {
    let path = try directory.write("a,b,c,t\n1,2,3,p\n4,5,6,q\n", to: "data.csv")
    let chosen = try TableReader(TableRequest(files: [("data.csv", path)], target: "t", columns: ["c", "a"])).read()
    #expect(chosen.features.columns.map(\.name) == ["c", "a"])
    let dropped = try TableReader(TableRequest(files: [("data.csv", path)], target: "t", drop: ["b"])).read()
    #expect(dropped.features.columns.map(\.name) == ["a", "c"])
  }

  @Test(arguments: [
    ("an empty file", "", "data.csv:1: expected a header line with column names, found an empty file"),
    ("a header alone", "x,t\n", "data.csv:2: expected at least one row after the header, found none"),
    ("a short row", "x,y,t\n1,2,p\n1,2\n", "data.csv:3: column \"t\": expected 3 fields as in the header, found 2"),
    ("a long row", "x,t\n1,p\n1,p,9\n", "data.csv:3: expected 2 fields as in the header, found 3"),
    (
      "a column twice but for spaces", "x,x ,t\n1,2,p\n",
      "data.csv:1: column \"x\": expected every column name once, found it as fields 1 and 2"
    ),
    (
      "a column twice", "x,x,t\n1,2,p\n",
      "data.csv:1: column \"x\": expected every column name once, found it as fields 1 and 2"
    ),
    (
      "no such target", "size,tt\n1,p\n",
      "run: target.column: expected a column of data.csv, found \"t\", did you mean \"tt\"?"
    ),
    (
      "only missing values", "x,t\n,p\nNA,q\n",
      "column \"x\": expected at least one value, found only missing ones; add it to data.drop"
    ),
    ("only missing targets", "x,y,t\n1,2,\n", "column \"t\": expected target values, found only missing ones"),
    (
      "too large for the engine", "x,t\n1e39,p\n",
      "data.csv:2: column \"x\": expected a number within ±3.4e38, found \"1e39\""
    ),
  ])
  func malformedFilesAreRefusedWithTheirPlace(fault: String, csv: String, message: String) throws {
    let error = #expect(throws: TrainingError.self) { try directory.dataset(csv, target: "t") }
    #expect(error?.message == message)
  }

  @Test func refusesTextWhereNumbersAreDue() throws {
    let error = #expect(throws: TrainingError.self) {
      try directory.dataset("x,t\n1,p\nabc,q\n", target: "t", types: [("x", .numeric)])
    }
    #expect(error?.message == "data.csv:3: column \"x\": expected a number, found \"abc\"")
    let rows = (0..<19).map { "\($0),p\n" }.joined()
    let mixed = #expect(throws: TrainingError.self) { try directory.dataset("x,t\n\(rows)1o,q\n", target: "t") }
    #expect(
      mixed?.message
        == "data.csv:21: column \"x\": expected a number as in 19 of 20 values, found \"1o\"; correct it, add it to data.missing, or declare the column categorical"
    )
  }

  @Test func refusesBytesThatAreNotUTF8NamingTheCell() throws {
    let bytes = Array("x,name,t\n1,ok,p\n2,".utf8) + [0xC3, 0x28] + Array(",q\n".utf8)
    let path = try directory.write(bytes, to: "data.csv")
    let error = #expect(throws: TrainingError.self) {
      try TableReader(TableRequest(files: [("data.csv", path)], target: "t")).read()
    }
    #expect(
      error?.message
        == "data.csv:3: column \"name\": expected UTF-8, found bytes that are not; data.encoding: windows-1252 reads "
        + "files of older programs")
  }

  @Test func refusesFilesWhoseColumnsDiffer() throws {
    let a = try directory.write("price,size,t\n1,2,p\n", to: "a.csv")
    let b = try directory.write("prise,size,t\n1,2,p\n", to: "b.csv")
    let error = #expect(throws: TrainingError.self) {
      try TableReader(TableRequest(files: [("a.csv", a), ("b.csv", b)], target: "t")).read()
    }
    #expect(
      error?.message == "b.csv:1: expected the columns of a.csv, found none named \"price\", did you mean \"prise\"?")
    let missing = #expect(throws: TrainingError.self) {
      try TableReader(TableRequest(files: [("no.csv", directory.file("no.csv"))], target: "t")).read()
    }
    #expect(missing?.message == "no.csv: expected a readable file, found: no such file or directory")
  }
}
