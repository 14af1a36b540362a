#include "fs/rotation/webhook_notices.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "fs/rotation/documents.h"
#include "fs/rotation/sheet.h"
#include "support/tiny_server.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;
using testing::TinyServer;

class WebhookNoticesTest : public ::testing::Test {
 protected:
  WebhookNoticesTest() {
    char pattern[] = "/tmp/keyfs-notices-XXXXXX";
    folder_ = mkdtemp(pattern);
    auto client = HttpClient::create(loop_, poller_, arena_, {});
    EXPECT_TRUE(client) << client.error().message;
    client_ = std::move(*client);
    std::ofstream(file()) << server_.url("/hook");
    EXPECT_EQ(::chmod(file().c_str(), 0600), 0);
    Webhook::Times times;
    times.pauses = {10ms, 20ms};
    webhook_ = std::make_unique<Webhook>(*client_, file(), times);
    notices_ = std::make_unique<WebhookNotices>(*webhook_);
  }
  ~WebhookNoticesTest() override { std::filesystem::remove_all(folder_); }

  std::string file() const { return folder_ + "/webhook"; }
  // With nginx on host-1, which has failed.
  RunView run() {
    RunDocument run;
    run.run = run_of(7);
    run.holder = "host-1";
    run.state = RunDocument::State::kEnded;
    run.end = RunDocument::End::kInPart;
    RunKey key;
    key.id = "orders";
    key.token = "t1";
    key.state = RunKey::State::kCurrent;
    key.current = 3;
    run.keys.push_back(key);
    Sheet sheet;
    sheet.run = run.run;
    sheet.host = "host-1";
    Row row;
    row.consumer = "nginx";
    row.keys = {0};
    row.state = RowState::kFailed;
    row.why = "exit status 1";
    sheet.rows.push_back(row);
    return {run, {{sheet_name(run.run, "host-1", 0), {sheet, "1"}}}};
  }
  std::vector<std::string> texts() {
    std::lock_guard lock(mutex_);
    std::vector<std::string> texts;
    for (const std::string& request : requests_) {
      const auto body = nlohmann::json::parse(request.substr(request.find("\r\n\r\n") + 4));
      texts.push_back(body.at("text"));
    }
    return texts;
  }

  std::string folder_;
  std::mutex mutex_;
  std::vector<std::string> requests_;
  TinyServer server_{[this](TinyServer::Connection& connection) {
    for (std::string request; !(request = connection.read_request()).empty();) {
      {
        std::lock_guard lock(mutex_);
        requests_.push_back(request);
      }
      connection.reply("200 OK", "ok");
    }
  }};
  CurlGlobal curl_;
  SecretArena arena_;
  SystemClock clock_;
  CurlPoller poller_{curl_};
  Loop loop_{clock_, poller_};
  std::unique_ptr<HttpClient> client_;
  std::unique_ptr<Webhook> webhook_;
  std::unique_ptr<WebhookNotices> notices_;
};

TEST_F(WebhookNoticesTest, the_message_about_an_end_names_who_failed) {
  const auto told = loop_.run_task(notices_->ended(run()));
  ASSERT_TRUE(told) << told.error().message;
  ASSERT_EQ(texts().size(), 1u);
  EXPECT_NE(texts()[0].find("orders/3: *done in part*, 1 failed of 1 consumer\n"
                            "• *nginx* on host-1: failed: exit status 1\n"),
            std::string::npos)
      << texts()[0];
}

TEST_F(WebhookNoticesTest, takeovers_and_stops_have_a_message_each) {
  RunView now = run();
  now.run.state = RunDocument::State::kTelling;
  now.run.takeovers = {"host-1 -> host-2"};
  ASSERT_TRUE(loop_.run_task(notices_->taken_over(now)));
  now.run.state = RunDocument::State::kStopping;
  now.run.stop_why = "5 in a row failed";
  ASSERT_TRUE(loop_.run_task(notices_->stopped(now)));
  ASSERT_EQ(texts().size(), 2u);
  EXPECT_NE(texts()[0].find("was taken over"), std::string::npos) << texts()[0];
  EXPECT_NE(texts()[0].find("host-1 -&gt; host-2"), std::string::npos) << texts()[0];
  EXPECT_NE(texts()[1].find("*is being stopped* (5 in a row failed)"), std::string::npos)
      << texts()[1];
}

TEST_F(WebhookNoticesTest, a_webhook_that_is_not_to_be_had_is_an_error_to_note) {
  std::filesystem::remove(file());
  const auto told = loop_.run_task(notices_->ended(run()));
  ASSERT_FALSE(told);
  EXPECT_NE(told.error().message.find("webhook_file"), std::string::npos) << told.error().message;
}

}  // namespace
}  // namespace keyfs
