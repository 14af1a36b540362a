// How to reach an etcd cluster, from the configuration:
//
//   [store]
//   type = etcd
//   endpoints = https://a:2379, https://b:2379, https://c:2379
//                                  ; in order of preference; the nearest first
//   allow_plain_http = yes         ; permits http:// to other machines
//   prefix = /keyfs                ; keys are PREFIX/records/ID, PREFIX/store-id
//                                  ; and PREFIX/changed, PREFIX/board/NAME
//   ca = FILE                      ; PEM; default: the system's
//   cert = FILE   key = FILE       ; client certificate (without a common name when etcd has
//                                  ; authentication on) and its key
//   user = NAME   password_file = FILE   ; the file: mode 0600, one line
//
// Thread-safety: a plain value and a plain function. Blocking: never.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/config.h"
#include "base/result.h"

namespace keyfs {

struct EtcdOptions {
  std::vector<std::string> endpoints;
  std::string prefix = "/keyfs";
  std::string ca;
  std::string cert;
  std::string key;
  std::string user;
  std::string password_file;
  std::string state_dir;  // empty: do not remember the cluster

  // After this much silence from a member, the next one is asked too.
  Duration hedge_after = std::chrono::milliseconds(300);
  // The longest wait for one member; after it the call goes elsewhere.
  Duration attempt_timeout = std::chrono::seconds(2);
  // If there is no linearizable answer by then, any member is asked for records.
  Duration local_after = std::chrono::milliseconds(600);
  // The watch: how often its member is asked whether it still follows the cluster, and for how
  // long.
  Duration probe_every = std::chrono::milliseconds(500);
  Duration probe_timeout = std::chrono::milliseconds(750);
};

// kInvalid, one line with file and line (base/config.h).
Result<EtcdOptions> read_etcd_options(const ConfigSection& section);

}  // namespace keyfs
