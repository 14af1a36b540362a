// The plugin: what it answers to each method that SPIRE and go-plugin call.
//
//   /spire.service.private.init.v1.Init/{Init,Deinit}
//   /spire.service.common.config.v1.Config/{Configure,Validate}
//   /spire.plugin.server.keymanager.v1.KeyManager/{GenerateKey,GetPublicKey,GetPublicKeys,SignData}
//   /grpc.health.v1.Health/Check, /plugin.GRPCController/Shutdown
//
// Thread-safety: call() from any thread. Ownership: refers to its parts. Blocking: call() never:
// what touches a disk or waits for KMS to be asked at a Configure is done on a thread of its own,
// one after the other; the destructor waits for it. Errors: in the answers.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/http.h"
#include "base/log.h"
#include "fs/spire/rpc.h"

namespace keyfs {

class Plugin {
 public:
  struct Parts {
    CurlGlobal& curl;
    const Clock& clock;
    Log& log;
    std::function<void()> end;  // the program shall end; from any thread
  };
  explicit Plugin(Parts parts);
  ~Plugin();
  Plugin(const Plugin&) = delete;
  Plugin& operator=(const Plugin&) = delete;

  // `method` with its service: "/plugin.GRPCController/Shutdown".
  void call(std::string_view method, std::string request, RpcCallPtr call);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace keyfs
