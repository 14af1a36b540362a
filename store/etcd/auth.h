// The token that etcd issues for user and password (POST /v3/auth/authenticate), sent in the
// Authorization header without "Bearer".
//
// Members keep simple tokens in memory, each for five minutes after its last use, and lose them in
// a restart. A token that a member refused is replaced by one log-in there, however many calls were
// refused. A log-in needs a quorum: until it succeeds, the old token stays in use with the other
// members.
//
// Thread-safety: none; on the loop's thread. Ownership: refers to client and worker, which outlive
// it, and it outlives its tasks. Blocking: never (the password file is read on the worker), except
// read_password(). Password and tokens are only in locked memory.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/http.h"
#include "base/race.h"
#include "base/result.h"
#include "base/secret.h"
#include "base/worker.h"
#include "store/etcd/error.h"

namespace keyfs {

class EtcdAuth {
 public:
  // Without a user no token is ever requested.
  EtcdAuth(HttpClient& http, Worker& files, std::string user, std::string password_file);

  struct Token {
    SecretBytes text;  // empty: not needed
    uint64_t number = 0;
  };
  using Failure = EtcdFailure;

  // The current token; logs in at `url` if none is valid there. Errors: read_password()'s,
  // kUnauthenticated for the password, otherwise those of HTTP.
  Task<tl::expected<Token, Failure>> token(std::string url, TimePoint deadline);
  // Token `number` was refused at `url`: the next call of token() for it logs in, unless that has
  // already happened.
  void refused(const std::string& url, uint64_t number);

  const std::string& user() const { return user_; }

  // The only line of the password file; kInvalid or kDenied for a file that cannot be used. Blocks.
  static Result<SecretBytes> read_password(SecretArena& arena, const std::string& path);

 private:
  using LoggedIn = std::optional<std::shared_ptr<const Failure>>;  // nullopt: done
  bool have_token(const std::string& url) const;
  Task<LoggedIn> log_in(std::string url, TimePoint deadline);
  LoggedIn take_reply(const HttpResponse& response);

  HttpClient& http_;
  Worker& files_;
  std::string user_;
  std::string password_file_;
  SecretBytes token_;
  uint64_t number_ = 0;                      // of the current token
  std::map<std::string, uint64_t> refused_;  // by URL: the newest token refused there
  bool no_auth_ = false;                     // etcd said that it needs none
  SingleFlight<LoggedIn> log_ins_;           // by URL
};

}  // namespace keyfs
