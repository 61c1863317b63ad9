/// The handbook of the whole product: `Handbook.docc` holds its pages.
///
/// DocC builds a catalog only as part of a Swift module, so this module exists and declares nothing else. No other
/// module imports it, and it is built only for the documentation (`Tests/handbook/run`).
public enum Handbook {}
