// DocC builds a catalog only as part of a Swift module, so this module exists for the pages in Handbook.docc and
// declares nothing. It is compiled only for the documentation (`Tests/handbook/run`).
