// Custody `kms`: asymmetric keys of AWS KMS, which never leave it.
//
// Names are aliases: alias_prefix + escaped name. What an alias may not hold is written as _XX (two
// lower-case hex digits); `_` itself only where two hex digits follow it, so that every name that
// SPIRE uses is written as SPIRE's own plugin writes it, and no two names fall together.
// With several regions a key is a multi-Region key with a replica in each; its first region is its
// primary, where names and keys are written and where names are decided: what another one says of a
// name counts only while the first is silent and nothing else is known. Signing goes to the fastest healthy region, hedged, and
// on to the others (base/hedge.h).
//
// Thread-safety, ownership, blocking, errors: as kms/signing/custody.h.
//   DisabledException, KMSInvalidStateException, NotFoundException of a key   kRevoked
//   the rest as kms/kms_error.h
// With several regions a key is kRevoked only if every region that answers says so.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/aws/client.h"
#include "base/health.h"
#include "base/loop.h"
#include "kms/signing/custody.h"

namespace keyfs {

struct KmsCustodyOptions {
  std::string alias_prefix;     // "alias/SPIRE_SERVER/example_org/srv1/", with its closing '/'
  std::string siblings_prefix;  // "alias/SPIRE_SERVER/example_org/"; empty: there are none
  // "SPIRE_SERVER_KEY/example.org/"; + name, + '/' + token and a mark of alias_prefix, in hex: other
  // servers have the same names.
  std::string description_prefix;
  // What another program wrote before the name, to the same aliases; empty: none did. It is no proof
  // for a key that no name of ours has referred to: here "." and "_" are one.
  std::string former_description_prefix;  // "SPIRE_SERVER_KEY/example_org/"
  std::string policy;                     // JSON; empty: KMS's default
  std::vector<std::pair<std::string, std::string>> tags;
  unsigned deletion_days = 7;
  HealthOptions health;
  size_t calls_at_once = 64;  // to one region
};

struct KmsSigningRegion {
  std::string name;  // "us-east-1"
  std::unique_ptr<AwsClient> client;
};

// Hears what signing regions do, for logs and metrics. On the loop's thread; must not block.
class SigningObserver {
 public:
  virtual ~SigningObserver() = default;
  virtual void on_call(const std::string& region, std::string_view operation, const Error* error,
                       Duration latency) = 0;
  virtual void on_breaker(const std::string& region, BreakerState state, Duration open_for,
                          const Error* reason) = 0;
};

// kInvalid for no regions, or a prefix without its closing '/'. `observer` may be null.
Result<std::unique_ptr<Custody>> make_kms_custody(Loop& loop, RandomFraction random,
                                                  std::vector<KmsSigningRegion> regions,
                                                  KmsCustodyOptions options,
                                                  SigningObserver* observer = nullptr);

// How a name is written in an alias, and back (nullopt: no name is written so).
std::string escape_alias(std::string_view name);
std::optional<std::string> unescape_alias(std::string_view text);

}  // namespace keyfs
