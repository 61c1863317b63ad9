#include "libneedletail.h"

const char *ntl_code_name(ntl_code code) {
  switch (code) {
    case NTL_OK:
      return "OK";
    case NTL_INVALID_ARGUMENT:
      return "INVALID_ARGUMENT";
    case NTL_NOT_FOUND:
      return "NOT_FOUND";
    case NTL_INTERNAL:
      return "INTERNAL";
    case NTL_TRUNCATED:
      return "TRUNCATED";
    case NTL_BAD_MAGIC:
      return "BAD_MAGIC";
    case NTL_UNSUPPORTED:
      return "UNSUPPORTED";
    case NTL_MALFORMED:
      return "MALFORMED";
    case NTL_OVERSIZED:
      return "OVERSIZED";
    case NTL_BAD_LENGTH:
      return "BAD_LENGTH";
    case NTL_BAD_HASH:
      return "BAD_HASH";
    case NTL_UNSIGNED:
      return "UNSIGNED";
    case NTL_UNTRUSTED:
      return "UNTRUSTED";
    case NTL_REVOKED:
      return "REVOKED";
    case NTL_BAD_SIGNATURE:
      return "BAD_SIGNATURE";
    case NTL_WRONG_NAME:
      return "WRONG_NAME";
    case NTL_EXPIRED:
      return "EXPIRED";
    case NTL_BAD_COMPRESSION:
      return "BAD_COMPRESSION";
    case NTL_INVALID_GRAPH:
      return "INVALID_GRAPH";
    case NTL_BAD_TRUST_FILE:
      return "BAD_TRUST_FILE";
    case NTL_IO:
      return "IO";
    case NTL_PLAN:
      return "PLAN";
    case NTL_GOLDEN:
      return "GOLDEN";
    case NTL_MEMORY:
      return "MEMORY";
  }
  return "UNKNOWN";
}
