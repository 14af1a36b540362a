// The plugin on gRPC: all methods by one generic service, so that no code is generated. The only
// file that includes gRPC is server.cc.
//
// Thread-safety: any thread. Ownership: `plugin` outlives it. Blocking: start() binds the socket;
// stop() waits at most for the given time. Errors: kUnavailable if the socket cannot be bound.
//
// go-plugin's two streams (GRPCBroker/StartStream, GRPCStdio/StreamStdio) stay open until their
// caller ends them: it takes an answer for a fault.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "fs/spire/plugin.h"

namespace keyfs {

class GrpcServer {
 public:
  static Result<std::unique_ptr<GrpcServer>> start(const std::string& socket, Plugin& plugin,
                                                   const Clock& clock);
  ~GrpcServer();
  GrpcServer(const GrpcServer&) = delete;
  GrpcServer& operator=(const GrpcServer&) = delete;

  // Whether a broker's stream was open, the last one has ended `patience` ago, and nobody has called
  // since: SPIRE has closed its connection.
  bool connection_lost(Duration patience) const;

  // Calls that still run are cancelled after `patience`.
  void stop(std::chrono::milliseconds patience);

 private:
  struct Impl;
  explicit GrpcServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace keyfs
