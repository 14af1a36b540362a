#include "fs/sign/store_shelf.h"

#include "kms/signing/wrapped_fixture.h"

namespace keyfs {
namespace {

using testing::WrappedHost;
using testing::WrappedTest;
using namespace std::chrono_literals;

// A store that has nothing beside its records.
class NoBoard final : public Store {
 public:
  explicit NoBoard(Store& real) : real_(real) {}
  Task<Result<std::string>> identity(TimePoint deadline) override {
    return real_.identity(deadline);
  }
  Task<Result<Got>> get(std::string id, Read read, TimePoint deadline) override {
    return real_.get(std::move(id), read, deadline);
  }
  Task<Result<PutResult>> put_if_absent(Record record, TimePoint deadline) override {
    return real_.put_if_absent(std::move(record), deadline);
  }
  Task<Result<std::optional<Stored>>> replace(Record record, std::string revision,
                                              TimePoint deadline) override {
    return real_.replace(std::move(record), std::move(revision), deadline);
  }
  Task<Result<ListPage>> list(std::string after, size_t limit, TimePoint deadline) override {
    return real_.list(std::move(after), limit, deadline);
  }
  Task<StoreCheck> check(TimePoint deadline) override { return real_.check(deadline); }

 private:
  Store& real_;
};

struct StoreShelfTest : WrappedTest {
  Shelved on_shelf(const std::string& name) {
    return **host.run(host.shelf->get(name, true, host.soon()));
  }
  Result<std::optional<Shelved>> save(Shelved shelved) {
    return host.run(host.shelf->save(std::move(shelved), host.soon()));
  }
  std::vector<std::string> names() { return *host.run(host.shelf->names(host.soon())); }

  WrappedHost host{world};
};

TEST_F(StoreShelfTest, lists_signing_keys_without_going_through_the_data_keys) {
  host.daemon.read("orders");
  host.make("ca");
  host.make("web");
  host.daemon.forget();
  EXPECT_EQ(names(), (std::vector<std::string>{"ca", "web"}));
  EXPECT_EQ(host.daemon.store.calls.list, 0);
}

TEST_F(StoreShelfTest, without_a_board_names_are_found_among_the_records) {
  host.daemon.read("orders");
  const std::string key = host.make("ca");
  NoBoard store(host.daemon.store);
  const auto shelf = make_store_shelf(world.time.loop, store, "here");
  EXPECT_EQ(*host.run(shelf->names(host.soon())), std::vector<std::string>{"ca"});
  ASSERT_TRUE(host.run(host.custody->remove_name("ca", key, host.soon())));
  EXPECT_TRUE(host.run(shelf->names(host.soon()))->empty());
}

TEST_F(StoreShelfTest, a_record_that_was_changed_since_is_a_conflict) {
  host.make("ca");
  Shelved old = on_shelf("ca");
  Shelved next = old;
  next.disabled = true;
  ASSERT_TRUE(*save(next));
  old.deleted = true;
  EXPECT_FALSE(*save(old));
  EXPECT_EQ(stored(".sign.ca").state, KeyState::kDisabled);
  Shelved other = on_shelf("ca");
  other.revision.clear();  // as if there were none
  EXPECT_FALSE(*save(other));
}

TEST_F(StoreShelfTest, what_it_does_not_know_stays_in_the_record) {
  const std::string key = host.make("ca");
  Record record = stored(".sign.ca");
  record.unknown = R"({"later":1})";
  record.versions.at(1).wrapped.at("a").at = "2020-01-01T00:00:00Z";
  rewrite(record);
  host.make("ca", key);
  const Record now = stored(".sign.ca");
  EXPECT_EQ(now.unknown, record.unknown);
  EXPECT_EQ(now.versions.at(1), record.versions.at(1));
  EXPECT_EQ(now.serial, record.serial + 1);
  EXPECT_EQ(now.last, 2u);
  EXPECT_FALSE(now.versions.at(2).promoted.empty());
}

TEST_F(StoreShelfTest, destroyed_versions_make_room_and_their_numbers_are_not_used_again) {
  const std::string key = host.make("ca");
  change(".sign.ca", [](Record& record) {
    Version gone = record.versions.at(1);
    gone.wrapped.clear();
    gone.destroyed = gone.created;
    const Version live = record.versions.at(1);
    for (uint32_t number = 1; number < 100; ++number) record.versions[number] = gone;
    record.versions[100] = live;
    record.current = record.last = 100;
  });
  WrappedHost fresh(world);
  const auto made = fresh.make("ca", fresh.refers("ca"));
  EXPECT_TRUE(made.starts_with("ca/101/")) << made;
  const Record now = stored(".sign.ca");
  EXPECT_EQ(now.versions.size(), 100u);
  EXPECT_FALSE(now.versions.contains(1));
}

TEST_F(StoreShelfTest, ids_are_those_of_keys_and_leave_room_for_the_prefix) {
  for (const char* name : {"", ".ca", "a/b", "with space", "-dash"}) {
    EXPECT_FALSE(host.shelf->check_name(name)) << name;
  }
  EXPECT_TRUE(host.shelf->check_name(std::string(249, 'a')));
  EXPECT_FALSE(host.shelf->check_name(std::string(250, 'a')));
}

TEST_F(StoreShelfTest, a_record_of_another_kind_under_its_id_is_corrupt) {
  host.daemon.read("orders");
  std::string json = raw("orders");
  json.replace(json.find("\"orders\""), 8, "\".sign.ca\"");
  world.records->write_raw(".sign.ca", json);
  const auto got = host.run(host.shelf->get("ca", true, host.soon()));
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, Code::kCorrupt);
}

}  // namespace
}  // namespace keyfs
