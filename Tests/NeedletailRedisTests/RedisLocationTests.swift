import NeedletailRedis
import Testing

/// Places of Redis, as people write them.
@Suite struct RedisLocationTests {
  @Test(arguments: [
    ("redis://redis.internal", "redis.internal", 6379, 0, nil as String?),
    ("redis://10.0.0.7:7000/3", "10.0.0.7", 7000, 3, nil),
    ("redis://[::1]:6380/", "::1", 6380, 0, nil),
    ("redis://[::1]/2", "::1", 6379, 2, nil),
    ("redis://jobs@redis:6379/1", "redis", 6379, 1, "jobs"),
  ])
  func addressesAreRead(text: String, host: String, port: Int, database: Int, user: String?) throws {
    let location = try RedisLocation(text)
    #expect(location.endpoint == .tcp(host: host, port: port))
    #expect(location.database == database && location.user == user)
  }

  @Test func socketsAreRead() throws {
    let location = try RedisLocation("unix:///run/redis/redis.sock?db=4")
    #expect(location.endpoint == .unix(path: "/run/redis/redis.sock") && location.database == 4)
    #expect(try RedisLocation("unix:///s").database == 0)
  }

  @Test(arguments: [
    ("", "redis://HOST:PORT/DB"), ("localhost:6379", "redis://HOST:PORT/DB"), ("redis://", "a host"),
    ("redis://host:0", "a port"), ("redis://host:70000", "a port"), ("redis://host:+1", "a port"),
    ("redis://host/x", "the number of a database"), ("redis://host/-1", "the number of a database"),
    ("redis://host/99999999999999999999", "the number of a database"), ("redis://::1:6379", "in brackets"),
    ("redis://user:secret@host", "no password"), ("redis://@host", "USER@HOST"), ("redis://a b", "a host"),
    ("rediss://host", "not encrypted"), ("unix://relative", "unix:///PATH"), ("unix:///s?database=1", "a database"),
    ("unix:///" + String(repeating: "x", count: 200), "unix:///PATH"),
  ])
  func whatIsNotUnderstoodIsRefused(text: String, words: String) {
    let error = #expect(throws: RedisError.self) { try RedisLocation(text) }
    #expect(error?.description.contains(words) == true, "\(String(describing: error))")
    #expect(error?.description.contains("secret") == false)
  }
}
