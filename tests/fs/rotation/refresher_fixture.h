// A host's refresher over real processes, and a stand-in for systemctl.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "fs/rotation/consumers_fixture.h"
#include "fs/rotation/refresher.h"

namespace keyfs::testing {

class RefreshTest : public ConsumersTest {
 protected:
  ~RefreshTest() override {
    loop_.shutdown();
    refresher_.reset();
  }

  // A section that fits every program of root, with this refresh and these further lines.
  void start_with(const std::string& refresh, const std::string& more = "") {
    start("[consumer app]\nmatch = uid:0\nrefresh = " + refresh + "\n" + more);
    HostRefresher::Options options;
    options.systemctl = folder_.file("systemctl");
    options.mountpoint = mountpoint_;
    refresher_ = std::make_unique<HostRefresher>(loop_, poller_, arena_, *consumers_, options);
  }
  RefreshRequest request(Duration timeout = std::chrono::seconds(20)) {
    RefreshRequest request;
    request.run = "r7";
    request.host = "h1";
    request.consumer = "app";
    request.keys = {{"orders", 2}, {"tls", 9}};
    request.timeout = timeout;
    return request;
  }
  RefreshOutcome refresh(Duration timeout = std::chrono::seconds(20)) {
    return loop_.run_task(refresher_->refresh(request(timeout)));
  }
  std::string script(const std::string& text) {
    const std::string path = folder_.file("hook");
    write_text(path, "#!/bin/sh\n" + text + "\n", 0700);
    return path;
  }
  // Stands in for systemd's: writes down what it is asked, and answers as a unit in that state.
  void systemctl(const std::string& state, const std::string& on_act = "exit 0") {
    write_text(folder_.file("systemctl"),
               "#!/bin/sh\necho \"$@\" >> " + folder_.file("asked") +
                   "\ncase \"$2\" in show) echo LoadState=loaded; echo ActiveState=" + state +
                   ";; *) " + on_act + ";; esac\n",
               0700);
  }

  std::string mountpoint_;  // none
  std::unique_ptr<HostRefresher> refresher_;
};

}  // namespace keyfs::testing
