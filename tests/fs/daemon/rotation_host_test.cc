// A daemon's whole part in rotation, on a store of its own: real files, real time.
#include "fs/daemon/rotation_host.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <utility>

#include "fs/daemon/instance_holder.h"
#include "fs/rotation/documents.h"
#include "fs/rotation/process_id.h"
#include "fs/rotation/tickets.h"
#include "support/log_capture.h"
#include "support/temporary_directory.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

// A host that has seen nothing.
struct Forgetful final : HostMemory {
  Task<Recall> recall(std::string) override {
    Recall never;
    never.what = Recall::What::kNever;
    co_return never;
  }
  void note(const Stored&, bool) override {}
  void note_seen(const std::string&, Sighting) override {}
  Task<Result<void>> kept(std::string) override { co_return Result<void>(); }
  void doubt(const std::string&) override {}
  void on_live(bool) override {}
  void on_gap() override {}
  std::string trouble() const override { return ""; }
  std::string forget() const override { return "forget it"; }
};

std::string contents(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

class RotationHostTest : public ::testing::Test {
 protected:
  RotationHostTest() : mask_(::umask(077)) {
    std::ofstream(hook_) << "#!/bin/sh\necho \"$KEYFS_HOST $KEYFS_CONSUMER $KEYFS_KEYS\" >> "
                         << told_ << "\n";
    ::chmod(hook_.c_str(), 0700);
  }
  ~RotationHostTest() override {
    if (backends_ != nullptr) backends_->loop().shutdown();
    ::umask(mask_);
  }

  Configuration load(const std::string& keys) {
    const std::string path = dir_.file("keyfs.ini");
    std::string text = *embedded_config(dir_.file("keys"), ::geteuid());
    text.insert(text.find("[sign *]"), keys);
    text += "[rotation]\nsettle = 0ms\npoll_every = 1s\n[consumer app]\nmatch = uid:" +
            std::to_string(::geteuid()) + "\nrefresh = exec:" + hook_ + "\nconfirm = exit\n";
    std::ofstream(path) << text;
    ConfigurationSource source;
    source.config = path;
    auto loaded = load_configuration(source);
    EXPECT_TRUE(loaded) << (loaded ? "" : loaded.error().message);
    loaded->embedded = dir_.file("keys");
    return std::move(*loaded);
  }
  void start() {
    Configuration configuration = load("");
    ASSERT_TRUE(prepare_embedded(configuration, arena_, random_));
    auto opened = Backends::open(configuration, curl_, clock_, nullptr);
    ASSERT_TRUE(opened) << opened.error().message;
    backends_ = std::move(*opened);
    policy_ = std::make_unique<PolicyHolder>(std::move(configuration.policy));
    KeyringOptions options;
    options.creator = "test";
    keyring_ =
        std::make_unique<Keyring>(KeyringParts{loop(), backends_->store(), backends_->regions(),
                                               cache_, backends_->arena(), log_.log(), memory_},
                                  options);
    pace_ = std::make_unique<CallPace>(loop());
    host_ = build(configuration, "/mnt/keys");
    ASSERT_NE(host_, nullptr);
    loop().spawn(host_->run());
  }
  std::unique_ptr<RotationHost> build(const Configuration& configuration,
                                      const std::string& mountpoint) {
    auto built =
        RotationHost::build({*backends_, cache_, *keyring_, memory_, *policy_, *pace_, log_.log()},
                            configuration, mountpoint);
    EXPECT_TRUE(built) << (built ? "" : built.error().message);
    return built ? std::move(*built) : nullptr;
  }

  Loop& loop() { return backends_->loop(); }
  Store& store() { return backends_->store(); }
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
  std::string document(const std::string& name) {
    const auto there = loop().run_task(store().board()->get(name, loop().now() + 5s));
    return there && *there ? (*there)->text : "";
  }
  // As a program of this user does.
  void open(const std::string& id) {
    KeyRef entry = cache_.acquire(id);
    OpenRequest request(entry, true, loop().now() + 10s);
    const auto opened = loop().run_task(keyring_->open(std::move(request)));
    ASSERT_TRUE(opened && *opened);
    auto process = std::make_shared<ProcessInfo>();
    process->pid = ::getpid();
    process->executable = "/usr/bin/app";
    process->cgroup = "/";
    process->serial = 1;
    const TimePoint now = loop().now();
    host_->opens().opened(entry, (*opened)->key->version, 0, ::geteuid(), process, {now, now});
  }
  uint32_t current(const std::string& id) {
    const auto found = loop().run_task(store().get(id, Read::kStrong, loop().now() + 5s));
    return found && *found ? (*found)->record.current : 0;
  }

  const mode_t mask_;
  const testing::TemporaryDirectory dir_;
  const std::string hook_ = dir_.file("hook");
  const std::string told_ = dir_.file("told");
  SecretArena arena_;
  OsRandom random_;
  CurlGlobal curl_;
  SystemClock clock_;
  LogCapture log_;
  Forgetful memory_;
  std::unique_ptr<Backends> backends_;
  std::unique_ptr<PolicyHolder> policy_;
  KeyCache cache_{CacheOptions()};
  std::unique_ptr<Keyring> keyring_;
  std::unique_ptr<CallPace> pace_;
  std::unique_ptr<RotationHost> host_;
};

TEST_F(RotationHostTest, a_ticket_has_the_key_rotated_and_who_uses_it_told) {
  start();
  open("orders");
  EXPECT_TRUE(comes([&] { return host_->may_scan(); })) << "the only host holds the lock";
  ASSERT_TRUE(comes([&] { return !document(host_document_name(host_->name())).empty(); }))
      << "who uses keys is listed";
  Ticket ticket;
  ticket.token = "t1";
  ticket.id = "orders";
  ticket.by = "test";
  const auto put = loop().run_task(
      put_ticket(*store().board(), loop(), random_, std::move(ticket), 1, loop().now() + 5s));
  ASSERT_TRUE(put);
  ASSERT_TRUE(comes([&] {
    const auto run = parse_run(document(run_name(run_of(1))));
    return run && run->state == RunDocument::State::kEnded;
  }));
  const auto run = parse_run(document(run_name(run_of(1))));
  EXPECT_EQ(run->end, RunDocument::End::kComplete);
  EXPECT_EQ(run->counts.ok, 1u);
  EXPECT_EQ(run->holder, host_->name());
  EXPECT_EQ(contents(told_), host_->name() + " app orders/2\n");
  EXPECT_EQ(current("orders"), 2u);
}

TEST_F(RotationHostTest, a_policy_that_is_reloaded_says_what_is_rotated_by_itself) {
  start();
  open("orders");
  ASSERT_TRUE(comes([&] { return host_->may_scan(); }));
  Configuration next = load("[keys bills]\nread = uid:0\nrotate_every = 90d\n");
  policy_->replace(std::move(next.policy));
  host_->reload(std::move(next.consumers));
  ASSERT_EQ(current("orders"), 1u);
  next = load("rotate_every = 1s\n");
  policy_->replace(std::move(next.policy));
  host_->reload(std::move(next.consumers));
  EXPECT_TRUE(comes([&] { return current("orders") >= 2; }));
}

TEST_F(RotationHostTest, who_uses_keys_is_written_down_at_the_end) {
  start();
  open("orders");
  host_->save(5s);
  EXPECT_NE(contents(dir_.file("keys") + "/state/consumers.json").find("\"orders\""),
            std::string::npos);
}

TEST_F(RotationHostTest,
       one_that_was_followed_keeps_out_of_the_others_files_and_tells_who_it_alone_knows) {
  start();
  open("orders");
  const std::string state = dir_.file("keys") + "/state/";
  const std::string listed = host_document_name(host_->name());
  ASSERT_TRUE(comes([&] { return !document(listed).empty(); }));
  host_->save(5s);
  const std::string consumers = contents(state + "consumers.json");
  const std::string instance = contents(state + "instance");
  ASSERT_NE(consumers.find("\"orders\""), std::string::npos);
  // As a second daemon with this state_dir does, while this one serves what is open still.
  const auto init = process_stat(1);
  ASSERT_TRUE(init);
  InstanceHolder successor(state + "instance.daemon", ProcessId{1, init->start}, process_epoch());
  EXPECT_EQ(successor.take(0s), ::getpid());
  const auto there = loop().run_task(store().board()->get(listed, loop().now() + 5s));
  ASSERT_TRUE(there && *there);
  auto entry = parse_host((*there)->text);
  ASSERT_TRUE(entry);
  entry->life = "another";
  ++entry->turn;
  const auto written = loop().run_task(
      store().board()->replace(listed, to_text(*entry), (*there)->revision, loop().now() + 5s));
  ASSERT_TRUE(written && written->done);
  const std::string name = host_->name();
  open("bills");
  ASSERT_TRUE(comes([&] { return host_->name() != name; }));
  EXPECT_TRUE(comes([&] { return !document(host_document_name(host_->name())).empty(); }));
  EXPECT_EQ(log_.count("a copy of this one's state_dir"), 0u);
  host_->save(5s);
  EXPECT_EQ(contents(state + "consumers.json"), consumers);
  EXPECT_EQ(contents(state + "instance"), instance);
}

TEST_F(RotationHostTest, another_mount_with_the_same_state_dir_is_another_host) {
  start();
  open("orders");
  host_->save(5s);
  const std::string mine = contents(dir_.file("keys") + "/state/consumers.json");
  const auto other = build(load(""), "/mnt/keys2");
  EXPECT_NE(other->name(), host_->name());
  other->save(5s);
  EXPECT_EQ(contents(dir_.file("keys") + "/state/consumers.json"), mine);
  EXPECT_EQ(build(load(""), "/mnt/keys2")->name(), other->name());
}

TEST(StopAfter, off_stops_no_run) {
  RotationSettings settings;
  EXPECT_EQ(stop_after_of(settings).percent, 20u);
  EXPECT_EQ(stop_after_of(settings).in_a_row, 5u);
  settings.stop_after_percent.reset();
  RunCounts counts;
  counts.total = counts.failed = 100;
  EXPECT_FALSE(must_stop(counts, 100, stop_after_of(settings)));
}

}  // namespace
}  // namespace keyfs
