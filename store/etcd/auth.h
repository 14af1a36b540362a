// The token that etcd gives for user and password (POST /v3/auth/authenticate), which goes into the
// Authorization header as it is, without "Bearer".
//
// Members keep simple tokens in memory, each for five minutes after it last saw them, and forget
// them when they restart; a token that a member refused is replaced by one log-in there, however
// many calls it was refused to. A log-in needs a quorum: until it has succeeded, the old token goes
// on being used with the other members.
//
// Thread-safety: none; on the loop's thread. Ownership: refers to client and worker, which outlive
// it, and it outlives its tasks. Blocking: never (the password file is read on the worker).
// Errors: kInvalid and kDenied for the password file, kUnauthenticated for the password, else what
// HTTP gives. Password and tokens are in locked memory only.
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
  // Without a user no token is ever asked for.
  EtcdAuth(HttpClient& http, Worker& files, std::string user, std::string password_file);

  struct Token {
    SecretBytes text;  // empty: none is needed
    uint64_t number = 0;
  };
  using Failure = EtcdFailure;

  // The token that we have; logs in at `url` when there is none that is good there.
  Task<tl::expected<Token, Failure>> token(std::string url, TimePoint deadline);
  // Token `number` was refused at `url`: the next call of token() for it logs in, unless somebody
  // already did.
  void refused(const std::string& url, uint64_t number);

  const std::string& user() const { return user_; }

  // The password file's one line, or why it is not to be used.
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
  uint64_t number_ = 0;                      // of the token that we have
  std::map<std::string, uint64_t> refused_;  // by URL: the newest token that was refused there
  bool no_auth_ = false;                     // etcd said that it wants none
  SingleFlight<LoggedIn> log_ins_;           // by URL
};

}  // namespace keyfs
