import NeedletailCore
import NeedletailTestSupport
import Testing

@testable import NeedletailSecurity

@Suite("Access of a connection")
struct ConnectionAccessTests {
  private static let key = APIKey()
  private let start = Instant(nanoseconds: 1_000_000_000_000)

  private static func grant(
    _ name: String = "checkout", key: APIKey = key, models: [String] = ["*"], calls: AccessCalls = .reading,
    state: Grant.State = .active, bounds: Grant.Bounds = .init()
  ) -> Grant {
    Grant(
      name: name, credential: .key(key.digest), models: models.map(NamePattern.init), calls: calls, state: state,
      bounds: bounds)
  }

  /// The refusal of a call; nil: the call was admitted.
  private func refusal(
    _ access: inout ConnectionAccess, _ ring: KeyRing, _ call: AccessCalls = .predict, _ model: String = "wine",
    rows: UInt64 = 1, after milliseconds: UInt64 = 0
  ) -> AccessRefusal? {
    let now = start.advanced(byMicroseconds: milliseconds * 1000)
    if access.generation != ring.generation { access.renew(ring) }
    return Array(model.utf8).withUnsafeBytes { bytes in
      do throws(AccessRefusal) {
        try access.admit(call, model: bytes, rows: rows, ring, now: now)
        return nil
      } catch {
        return error
      }
    }
  }

  private func authenticate(
    _ access: inout ConnectionAccess, _ ring: KeyRing, _ text: String = key.text
  ) throws(AccessRefusal) -> String {
    let bytes = Array(text.utf8)
    let outcome: Result<String, AccessRefusal> = bytes.withUnsafeBytes { bytes in
      do throws(AccessRefusal) {
        return .success(try access.authenticate(bytes, ring))
      } catch {
        return .failure(error)
      }
    }
    return try outcome.get()
  }

  @Test func onlyModelsOfTheKeyAreReachedAndLookingIsNotCharged() throws {
    let ring = KeyRing([Self.grant(models: ["wine*"], bounds: .init(requestsPerSecond: 1))])
    var access = ConnectionAccess(isRequired: true)
    func reaches(_ model: String) -> Bool {
      Array(model.utf8).withUnsafeBytes { model in
        do throws(AccessRefusal) {
          try access.check(.predict, model: model, ring)
          return true
        } catch {
          return false
        }
      }
    }
    #expect(!reaches("wine"))
    _ = try authenticate(&access, ring)
    for _ in 0..<100 { #expect(reaches("wine")) }
    #expect(!reaches("digits"))
    #expect(refusal(&access, ring) == nil)
  }

  @Test func withoutAKeyFileEverythingIsAllowed() {
    var access = ConnectionAccess(isRequired: false)
    let nothing = UnsafeRawBufferPointer(start: nil, count: 0)
    var error: AccessRefusal?
    do throws(AccessRefusal) {
      try access.admit(.rollout, model: nothing, rows: 0, nil, now: start)
    } catch let refusal {
      error = refusal
    }
    #expect(error == nil)
    let isAuthenticated = access.isAuthenticated
    let visible = access.visibleModels
    #expect(isAuthenticated && visible == nil)
  }

  @Test func nothingIsAllowedBeforeAKeyIsPresented() throws {
    let ring = KeyRing([Self.grant()])
    var access = ConnectionAccess(isRequired: true)
    for (_, call) in AccessCalls.names {
      #expect(refusal(&access, ring, call)?.error.code == .unauthenticated)
    }
    #expect(try authenticate(&access, ring) == "checkout")
    #expect(refusal(&access, ring, .predict) == nil)
    #expect(refusal(&access, ring, .rollout)?.reason == .call)
  }

  @Test func aWrongKeyIsRefusedAndWithdrawsTheOldOne() throws {
    let ring = KeyRing([Self.grant()])
    var access = ConnectionAccess(isRequired: true)
    _ = try authenticate(&access, ring)
    for wrong in [APIKey().text, "", "ntk_", Self.key.text + "x", String(Self.key.text.dropLast())] {
      #expect(throws: AccessRefusal.self) { try authenticate(&access, ring, wrong) }
    }
    let isExhausted = access.isExhausted
    #expect(isExhausted)
    #expect(refusal(&access, ring, .predict)?.error.code == .unauthenticated)
  }

  @Test func aTextLongerThanAnyKeyDoesNotMatchItsPrefix() throws {
    let long = String(repeating: "k", count: Limits.apiKeyBytesMax)
    let digest = Array(long.utf8).withUnsafeBytes { KeyDigest(of: $0) }
    let ring = KeyRing([Grant(name: "long", credential: .key(digest))])
    var access = ConnectionAccess(isRequired: true)
    #expect(throws: AccessRefusal.self) { try authenticate(&access, ring, long + "k") }
    #expect(try authenticate(&access, ring, long) == "long")
  }

  @Test func aKeyReachesItsModelsAndItsCalls() throws {
    let ring = KeyRing([Self.grant(models: ["wine", "fraud-*"], calls: [.predict])])
    var access = ConnectionAccess(isRequired: true)
    _ = try authenticate(&access, ring)
    for model in ["wine", "fraud-eu", "fraud-", "wine"] { #expect(refusal(&access, ring, .predict, model) == nil) }
    for model in ["win", "wines", "fraud", "xwine", "WINE", "wine\0"] {
      let refused = refusal(&access, ring, .predict, model)
      #expect(refused?.reason == .model && refused?.error.code == .permissionDenied)
    }
    #expect(
      refusal(&access, ring, .predict, "digits")?.error.message == "key \"checkout\" may not use model \"digits\"")
    #expect(
      refusal(&access, ring, .metrics, "")?.error.message == "key \"checkout\" may not metrics: expected one of predict"
    )
    let visible = access.visibleModels
    #expect(visible == [NamePattern("wine"), NamePattern("fraud-*")])
  }

  @Test func aRevokedKeyEndsWithTheNextCallAndComesBackWithTheNextFile() throws {
    let ring = KeyRing([Self.grant()])
    var access = ConnectionAccess(isRequired: true)
    _ = try authenticate(&access, ring)
    #expect(refusal(&access, ring) == nil)
    let revoked = KeyRing([Self.grant(state: .revoked)], continuing: ring)
    let refused = refusal(&access, revoked)
    #expect(refused?.reason == .revoked && refused?.error.message == "api_key: key \"checkout\" is revoked")
    #expect(refusal(&access, KeyRing([], continuing: revoked))?.reason == .unknownKey)
    #expect(refusal(&access, KeyRing([Self.grant()])) == nil)
  }

  @Test func aCertificateIsRecognisedByOneOfItsNames() {
    let ring = KeyRing([
      Grant(name: "billing", credential: .certificate(subject: "billing.internal"), calls: [.predict])
    ])
    var access = ConnectionAccess(isRequired: true)
    access.present(certificate: ["other.internal"], ring)
    let refused = refusal(&access, ring)
    #expect(refused?.reason == .unauthenticated && refused?.error.message.contains("other.internal") == true)
    access.present(certificate: ["x", "billing.internal"], ring)
    #expect(refusal(&access, ring) == nil)
    #expect(refusal(&access, ring, .health)?.error.message.contains("certificate \"billing\"") == true)
  }

  @Test func requestsPerSecondAreABurstAndThenARate() throws {
    let ring = KeyRing([Self.grant(bounds: .init(requestsPerSecond: 10))])
    var access = ConnectionAccess(isRequired: true)
    _ = try authenticate(&access, ring)
    let burst = (0..<20).filter { _ in refusal(&access, ring) == nil }.count
    #expect(burst == 10)
    let refused = try #require(refusal(&access, ring))
    #expect(refused.error.code == .overloaded && refused.reason == .requestsPerSecond)
    // One is earned every 100 ms.
    #expect((1...100_001).contains(refused.error.retryAfterMicroseconds))
    #expect(refusal(&access, ring, after: 100) == nil)
    #expect(refusal(&access, ring, after: 100)?.reason == .requestsPerSecond)
    var later = 0
    for step in 0..<1000 where refusal(&access, ring, after: 200 + UInt64(step) * 10) == nil { later += 1 }
    #expect((98...103).contains(later), "10 s at 10 a second gave \(later)")
  }

  @Test func aLargeCallIsAdmittedAndDelaysLaterOnes() throws {
    let ring = KeyRing([Self.grant(bounds: .init(rowsPerSecond: 100))])
    var access = ConnectionAccess(isRequired: true)
    _ = try authenticate(&access, ring)
    #expect(refusal(&access, ring, rows: 500) == nil)
    #expect(refusal(&access, ring, after: 3900)?.reason == .rowsPerSecond)
    #expect(refusal(&access, ring, after: 4100) == nil)
    // A request's mere claim is not charged beyond what the server would run.
    #expect(refusal(&access, ring, rows: .max, after: 6000) == nil)
    #expect(refusal(&access, ring, after: 6000 + 42_000) == nil)
  }

  @Test func callsInFlightAreCountedOverAllConnectionsOfAKey() throws {
    let ring = KeyRing([Self.grant(bounds: .init(inFlightMax: 3))])
    let grant = ring.grants[0]
    var first = ConnectionAccess(isRequired: true)
    _ = try authenticate(&first, ring)
    do {
      var second = ConnectionAccess(isRequired: true)
      _ = try authenticate(&second, ring)
      #expect(refusal(&first, ring) == nil && refusal(&second, ring) == nil && refusal(&second, ring) == nil)
      #expect(refusal(&first, ring)?.reason == .inFlight && grant.inFlight == 3)
      second.settle()
      #expect(refusal(&first, ring) == nil && grant.inFlight == 3)
      // A connection that ends gives back what it still held.
    }
    #expect(grant.inFlight == 2)
    first.settle()
    first.settle()
    #expect(grant.inFlight == 0)
  }

  @Test func anEmptyKeyBehindAGoodOneWinsNoRoomWhenItsAnswerSettles() throws {
    let ring = KeyRing([Self.grant(bounds: .init(inFlightMax: 1))])
    var access = ConnectionAccess(isRequired: true)
    _ = try authenticate(&access, ring)
    #expect(refusal(&access, ring) == nil)
    #expect(throws: AccessRefusal.self) { try authenticate(&access, ring, "") }
    access.noteUnlimited()
    access.settle()
    #expect(ring.grants[0].inFlight == 1)
    #expect(refusal(&access, ring)?.reason == .inFlight)
  }

  @Test func aReloadKeepsTheUsageOfEachKey() throws {
    let bounds = Grant.Bounds(requestsPerSecond: 5, inFlightMax: 100)
    let ring = KeyRing([Self.grant(bounds: bounds)])
    var access = ConnectionAccess(isRequired: true)
    _ = try authenticate(&access, ring)
    for _ in 0..<5 { #expect(refusal(&access, ring) == nil) }
    let next = KeyRing([Self.grant(bounds: bounds)], continuing: ring)
    #expect(refusal(&access, next)?.reason == .requestsPerSecond)
    #expect(next.grants[0].inFlight == 5)
    // Without its limit nothing is counted; with it again, what is in flight counts.
    access.renew(KeyRing([Self.grant()], continuing: next))
    #expect(next.grants[0].inFlight == 0)
    access.settle()
    access.renew(KeyRing([Self.grant(bounds: bounds)], continuing: next))
    #expect(next.grants[0].inFlight == 4)
  }

  @Test(.enabled(if: Allocations.areCounted))
  func anAllowedCallAllocatesNothing() throws {
    let bounds = Grant.Bounds(requestsPerSecond: 1_000_000, rowsPerSecond: 1_000_000, inFlightMax: 64)
    let ring = KeyRing([Self.grant(models: ["fraud-*", "w?ne", "digits"], bounds: bounds)])
    var access = ConnectionAccess(isRequired: true)
    _ = try authenticate(&access, ring)
    // The first call through to a model keeps its name.
    #expect(refusal(&access, ring, .predict, String(repeating: "w", count: 128))?.reason == .model)
    #expect(refusal(&access, ring, .predict, "fraud-" + String(repeating: "x", count: 120)) == nil)
    access.settle()
    let texts = ["wine", "digits", "fraud-eu"].map { Array($0.utf8) }
    let names = texts.map { text in
      let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: text.count, alignment: 1)
      copy.copyBytes(from: text)
      return UnsafeRawBufferPointer(copy)
    }
    defer { for name in names { name.deallocate() } }
    var refused = 0
    let now = start
    func call(_ name: UnsafeRawBufferPointer) {
      do throws(AccessRefusal) {
        try access.admit(.predict, model: name, rows: 4, ring, now: now)
        access.settle()
      } catch {
        refused += 1
      }
    }
    // Optimised code allocates nothing on the way through the patterns either; this holds unoptimised.
    let count = names.reduce(0) { count, name in
      call(name)
      return count + Allocations.during { for _ in 0..<100 { call(name) } }
    }
    #expect(count == 0)
    #expect(refused == 0)
  }
}
