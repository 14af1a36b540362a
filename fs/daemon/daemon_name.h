// The name by which a daemon is known to the others, on the board and in reports of runs.
//
// It is the host's own name, for people; two daemons on one host have different ones, and each has
// the same after a restart, since an open run asks for it again:
//
//   web-1                      the first mount with the default state_dir
//   web-1~payments-3fa2c1      another state_dir: the last part of its path, and a hash
//   web-1~keys2-07bb1e         another mount with the same state_dir: the same of its mount point
//   localhost~9b01d7           a host's name that says nothing: a hash of its machine-id
//   web-1~5f0c91               another daemon has the name web-1, as cloned machines and containers
//                              may: a hash of its instance (fs/rotation/host_identity.h), which the
//                              agent adds to any of these
//
// Which mount is the first of a state_dir is kept there, in the file first-mount.
//
// Thread-safety: plain functions; several daemons may call them at once. Blocking: on the disk of
// state_dir and of /etc. Errors: none; where first-mount cannot be read or written it is the first.
#pragma once

#include <string>
#include <string_view>

namespace keyfs {

// `host`: as gethostname(2) has it; `machine`: machine_id(); `other_mount`: the mount point, unless
// it is the first of this state_dir. Always an is_host_name().
std::string daemon_name(std::string_view host, const std::string& state_dir,
                        std::string_view machine, const std::string& other_mount = "");

// Whether this mount point is the first of the state_dir, which it is from now on if none was.
bool is_first_mount(const std::string& state_dir, const std::string& mountpoint);

// The same short text for the same path, fit for a file's name: "keys2-07bb1e".
std::string path_mark(const std::string& path, std::string_view machine);

// As machine-id(5) has it; empty: there is none.
std::string machine_id(const std::string& path = "/etc/machine-id");

}  // namespace keyfs
