import NeedletailCore
import NeedletailTestSupport
import Testing

@testable import NeedletailObjectStore

@Suite("XML of object stores")
struct XMLElementTests {
  private func parse(_ text: String) throws -> XMLElement { try XMLElement.parse(Array(text.utf8)) }

  @Test func readsElementsTextEntitiesAndComments() throws {
    let root = try parse(
      """
      <?xml version="1.0" encoding="UTF-8"?>
      <!-- a listing --><List xmlns="http://s3/"><Key a='>'>a&amp;b&#x41;&#66;</Key><Empty/><Key>2</Key></List>
      """)
    #expect(root.name == "List")
    #expect(root.children.map(\.name) == ["Key", "Empty", "Key"])
    #expect(root.children.map(\.text) == ["a&bAB", "", "2"])
    #expect(root["Key"] == "a&bAB")
  }

  @Test(arguments: [
    "", "text", "<a>", "<a></b>", "<a", "<a><b></a></b>", "<!DOCTYPE a><a/>", "<a>&unknown;</a>", "<a>&amp</a>",
    "<a>&#x110000;</a>", "</a>", "<>", "<a>\u{0}<",
    String(repeating: "<a>", count: 17) + String(repeating: "</a>", count: 17),
  ])
  func refusesWhatIsNone(text: String) {
    #expect(throws: ObjectStoreError.self) { try parse(text) }
  }

  @Test func endsInAnElementOrAnErrorWhateverItReads() {
    let whole = Array(
      "<?xml version=\"1.0\"?><!-- c --><L a='b'><Key>a&amp;b&#x41;</Key><E/><K>2</K><!-- d --></L>".utf8)
    var random = SplitMix64(seed: 1)
    var parsed = 0
    for _ in 0..<20_000 {
      var bytes = whole
      random.mutate(&bytes)
      if (try? XMLElement.parse(bytes)) != nil { parsed += 1 }
    }
    #expect((1..<20_000).contains(parsed))
  }

  @Test func refusesBytesThatAreNoText() {
    #expect(throws: ObjectStoreError.self) { try XMLElement.parse([0x3C, 0x61, 0x3E, 0xFF, 0x3C, 0x2F, 0x61, 0x3E]) }
  }
}
