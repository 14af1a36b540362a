// Signing keys of a daemon, on a store of its own: real files, wrapped keys.
#include "fs/daemon/signing_host.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/metrics.h"
#include "support/log_capture.h"
#include "support/temporary_directory.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

// The other who hears of changes.
struct OtherListener final : ChangeListener {
  void on_change(const std::string& id, const std::optional<Stored>&) override {
    changed.push_back(id);
  }
  void on_gap() override { ++gaps; }
  void on_live(bool, TimePoint) override { ++live; }
  std::vector<std::string> changed;
  int gaps = 0, live = 0;
};

class SigningHostTest : public ::testing::Test {
 protected:
  SigningHostTest() : mask_(::umask(077)) {}
  ~SigningHostTest() override {
    if (backends_ != nullptr) backends_->loop().shutdown();
    ::umask(mask_);
  }

  Configuration load(bool sign) {
    const std::string path = dir_.file("keyfs.ini");
    std::string text = *embedded_config(dir_.file("keys"), ::geteuid());
    if (!sign) text.erase(text.find("[sign *]"), text.find("[admin]") - text.find("[sign *]"));
    std::ofstream(path) << text;
    ConfigurationSource source;
    source.config = path;
    auto loaded = load_configuration(source);
    EXPECT_TRUE(loaded) << (loaded ? "" : loaded.error().message);
    loaded->embedded = dir_.file("keys");
    return std::move(*loaded);
  }
  void start(bool sign = true) {
    const Configuration configuration = load(sign);
    ASSERT_TRUE(prepare_embedded(configuration, arena_, random_));
    auto opened = Backends::open(configuration, curl_, clock_, nullptr);
    ASSERT_TRUE(opened) << opened.error().message;
    backends_ = std::move(*opened);
    host_ = build(configuration);
    ASSERT_NE(host_, nullptr);
  }
  std::unique_ptr<SigningHost> build(const Configuration& configuration) {
    auto built = SigningHost::build({*backends_, metrics_, log_.log(), {}}, configuration);
    EXPECT_TRUE(built) << (built ? "" : built.error().message);
    return built ? std::move(*built) : nullptr;
  }
  SigningKeyPtr create(SigningKeys& keys, const std::string& id) {
    GenerateRequest request(id, SigningKeyType::kEcP256, "", GenerateRequest::Mode::kCreate,
                            loop().now() + 30s);
    auto made = loop().run_task(keys.generate(std::move(request)));
    EXPECT_TRUE(made) << (made ? "" : made.error().message);
    return made ? *made : nullptr;
  }
  Loop& loop() { return backends_->loop(); }
  // Whether it becomes true within half a minute.
  template <class Done>
  bool comes(Done done) {
    const auto looking = [](Loop& loop, Done& ready) -> Task<bool> {
      const TimePoint until = loop.now() + 30s;
      while (!ready() && loop.now() < until) co_await loop.sleep_for(10ms);
      co_return ready();
    };
    return loop().run_task(looking(loop(), done));
  }

  const mode_t mask_;
  const keyfs::testing::TemporaryDirectory dir_;
  CurlGlobal curl_;
  SystemClock clock_;
  SecretArena arena_;
  OsRandom random_;
  LogCapture log_;
  Metrics metrics_;
  std::unique_ptr<Backends> backends_;
  std::unique_ptr<SigningHost> host_;
};

TEST_F(SigningHostTest, without_a_section_that_lets_anybody_sign_there_is_nothing) {
  start(false);
  EXPECT_EQ(host_->keys(), nullptr);
  EXPECT_FALSE(host_->brief().on);
  EXPECT_EQ(host_->brief().trouble, "");
  OtherListener other;
  EXPECT_EQ(&host_->listen(other), &other);
  EXPECT_EQ(metrics_.text().find("keyfs_signing"), std::string::npos);
}

TEST_F(SigningHostTest, a_key_is_in_status_and_metrics) {
  start();
  ASSERT_NE(host_->keys(), nullptr);
  const SigningKeyPtr made = create(*host_->keys(), "ca");
  ASSERT_NE(made, nullptr);
  const SigningBrief brief = host_->brief();
  ASSERT_EQ(brief.status.keys.size(), 1u);
  EXPECT_TRUE(brief.on);
  EXPECT_EQ(brief.status.keys[0].id, "ca");
  EXPECT_EQ(brief.status.keys[0].custody, "wrapped");
  EXPECT_EQ(brief.status.keys[0].fingerprint, made->public_key->fingerprint());
  host_->sample();
  EXPECT_NE(metrics_.text().find("\nkeyfs_signing_keys 1\n"), std::string::npos);
  EXPECT_NE(metrics_.text().find("\nkeyfs_signing_keys_unusable 0\n"), std::string::npos);
}

TEST_F(SigningHostTest, changes_of_signing_keys_are_theirs_and_the_rest_is_the_others) {
  start();
  OtherListener other;
  ChangeListener& feed = host_->listen(other);
  feed.on_change("orders", std::nullopt);
  feed.on_change(".sign.ca", std::nullopt);
  feed.on_gap();
  feed.on_live(true, loop().now());
  EXPECT_EQ(other.changed, (std::vector<std::string>{"orders"}));
  EXPECT_EQ(other.gaps, 1);
  EXPECT_EQ(other.live, 1);
}

TEST_F(SigningHostTest, a_key_that_another_process_made_is_known_once_the_store_tells_of_it) {
  start();
  OtherListener other;
  ChangeListener& feed = host_->listen(other);
  const Configuration configuration = load(true);
  const auto elsewhere = build(configuration);
  ASSERT_NE(elsewhere, nullptr);
  ASSERT_NE(create(*elsewhere->keys(), "ca"), nullptr);
  EXPECT_EQ(host_->keys()->find("ca"), nullptr);
  feed.on_change(".sign.ca", std::nullopt);
  EXPECT_TRUE(comes([&] { return host_->keys()->find("ca") != nullptr; }));
  loop().shutdown();  // before what was built last
}

TEST_F(SigningHostTest, a_state_dir_that_cannot_be_used_is_told_and_stops_nothing) {
  start();
  host_.reset();
  const Configuration configuration = load(true);
  const std::string directory = signing_options(configuration).directory;
  ASSERT_EQ(::chmod(directory.c_str(), 0777), 0);
  const auto host = build(configuration);
  ASSERT_NE(host, nullptr);
  EXPECT_EQ(host->keys(), nullptr);
  EXPECT_FALSE(host->brief().on);
  EXPECT_NE(host->brief().trouble.find(directory), std::string::npos) << host->brief().trouble;
  EXPECT_TRUE(log_.has("there are no signing keys on this host"));
}

}  // namespace
}  // namespace keyfs
