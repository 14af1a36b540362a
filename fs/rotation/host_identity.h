// Which daemon a host on the board is, whatever its name: cloned machines and containers have one
// host name, and a copied state_dir has everything.
//
// Each state_dir has a random instance id, which its document on the board, its sheets in runs and
// its file carry. A daemon that finds its name taken by another instance takes a marked name from
// then on: the same after each start, since the mark is made of the instance.
//
// A copied state_dir has the same instance. Each life of a daemon that lists itself has a turn, one
// more than that of the life that it replaces; so whoever finds a later turn than its own lives at
// the same time as a copy of itself. It becomes another instance, and is not sure from then on that
// it knows all programs of the keys of both (fs/rotation/agent.h).
//
// Thread-safety: plain values. Blocking: never. Errors: none.
#pragma once

#include <string>
#include <string_view>

namespace keyfs {

struct HostIdentity {
  std::string instance;  // empty: not known, and nothing is compared
  bool marked = false;   // another has its plain name
  bool operator==(const HostIdentity&) const = default;
};

// "web-1~5f0c91" of "web-1"; always an is_host_name() if `name` is one.
std::string marked_host_name(std::string_view name, std::string_view instance);
// The name under which this one is known.
std::string host_name_of(const std::string& name, const HostIdentity& identity);

// As a file keeps it: "INSTANCE\n", "INSTANCE marked\n". An instance that is empty: the text is none.
std::string to_text(const HostIdentity& identity);
HostIdentity parse_host_identity(std::string_view text);

}  // namespace keyfs
