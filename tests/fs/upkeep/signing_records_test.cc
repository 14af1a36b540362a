// Records of signing keys lie beside those of data keys: no door of data keys gives one, and what
// keeps all records whole keeps these whole too.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "fs/keys/record_memory.h"
#include "fs/upkeep/healer_fixture.h"
#include "fs/upkeep/key_admin.h"
#include "fs/upkeep/key_list.h"
#include "fs/upkeep/key_versions.h"
#include "fs/upkeep/rewrap.h"
#include "fs/upkeep/scripted_notebook.h"

namespace keyfs {
namespace {

using testing::Daemon;
using testing::HealerTest;
using testing::MemoryMaster;
using testing::Nurse;
using testing::ScriptedNotebook;
using namespace std::chrono_literals;

constexpr const char* kSigningId = ".sign.ca";
constexpr size_t kPrivateBytes = 2400;  // of an RSA_4096 key, in PKCS #8

struct SigningRecords : HealerTest {
  SigningRecords() {
    Daemon maker(world);
    const auto making = [&]() -> Task<Result<CreatedKey>> {
      EncryptionContext context = key_context(kSigningId, 1, world.records->id());
      co_return co_await maker.regions->create(kPrivateBytes, context, now() + 10s);
    };
    auto made = world.time.loop.run_task(making());
    EXPECT_TRUE(made) << made.error().message;
    Record record;
    record.id = kSigningId;
    record.kind = std::string(kSigningKind);
    record.current = record.serial = record.last = 1;
    record.origin = world.records->id();
    Version& version = record.versions[1];
    version.created = "2026-11-22T03:46:00Z";
    version.creator = "here";
    version.type = "RSA_4096";
    version.public_key = "its public half";
    version.bytes = kPrivateBytes;
    version.check = *check_of(made->key, kSigningId, 1);
    for (const auto& [region, wrapped] : made->wrapped) {
      version.wrapped[region] = {wrapped.master, wrapped.blob, version.created, ""};
    }
    rewrite(record);
    untouched = record;
  }
  template <class T>
  T run(Task<T> task) {
    return world.time.loop.run_task(std::move(task));
  }
  void drop_wrap(const std::string& region) {
    change(kSigningId, [&](Record& record) { record.versions.at(1).wrapped.erase(region); });
  }

  Record untouched;
  ScriptedNotebook notebook;
};

TEST_F(SigningRecords, are_not_read_by_id_nor_described_nor_made) {
  Daemon daemon(world);
  EXPECT_EQ(daemon.read(kSigningId), "absent");
  EXPECT_EQ(daemon.read(".sign.new"), "absent");
  const auto told = run(daemon.keyring->describe(kSigningId, now() + 10s));
  EXPECT_TRUE(told && !*told);
  EXPECT_EQ(daemon.region_calls(), 0);
  EXPECT_EQ(daemon.store.calls.all(), 0);
  EXPECT_FALSE(world.records->find(".sign.new"));
}

TEST_F(SigningRecords, are_not_listed) {
  Daemon daemon(world);
  daemon.read("orders");
  KeyList list(world.time.loop, daemon.store, 10s, 32);
  const auto listing = list.open();
  const KeyPageRef page = run(listing->page(0, now() + 10s)).value();
  ASSERT_EQ(page->size(), 1u);
  EXPECT_EQ((*page)[0].id, "orders");
}

TEST_F(SigningRecords, are_not_administered_as_data_keys) {
  Daemon daemon(world);
  KeyAdmin admin(world.time.loop, daemon.store, *daemon.regions, daemon.no_memory, notebook, "me");
  KeyVersions versions(world.time.loop, daemon.store, *daemon.regions, daemon.no_memory, notebook,
                       "me", 10s);
  EXPECT_FALSE(run(admin.create(kSigningId, 32, now() + 10s)));
  EXPECT_FALSE(run(admin.set_state(kSigningId, KeyState::kDisabled, now() + 10s)));
  EXPECT_FALSE(run(admin.set_state(kSigningId, KeyState::kDeleted, now() + 10s)));
  EXPECT_FALSE(run(admin.describe(kSigningId, now() + 10s)));
  RotateRequest request;
  request.id = kSigningId;
  request.token = "t1";
  EXPECT_FALSE(run(versions.rotate(request)));
  EXPECT_FALSE(run(versions.promote(kSigningId, 1)));
  EXPECT_FALSE(run(versions.retire(kSigningId, 1)));
  EXPECT_FALSE(run(versions.destroy(kSigningId, {1})));
  EXPECT_EQ(stored(kSigningId), untouched);
  EXPECT_EQ(daemon.store.calls.all(), 0);
}

TEST_F(SigningRecords, get_their_missing_wraps_from_the_healer) {
  drop_wrap("c");
  Nurse nurse(world);
  const HealReport report = nurse.heal();
  EXPECT_EQ(report.healed, 1u);
  const Record healed = stored(kSigningId);
  EXPECT_EQ(healed.versions.at(1).wrapped.size(), 3u);
  EXPECT_EQ(healed.kind, kSigningKind);
  EXPECT_EQ(healed.versions.at(1).type, untouched.versions.at(1).type);
  EXPECT_EQ(healed.versions.at(1).public_key, untouched.versions.at(1).public_key);
}

TEST_F(SigningRecords, get_a_broken_wrap_made_anew_where_wraps_are_verified) {
  change(kSigningId,
         [](Record& record) { record.versions.at(1).wrapped.at("b").blob.back() ^= 1; });
  HealOptions options;
  options.verify = true;
  Nurse nurse(world, options);
  EXPECT_EQ(nurse.heal().mended, 1u);
  EXPECT_NE(stored(kSigningId).versions.at(1).wrapped.at("b").blob,
            untouched.versions.at(1).wrapped.at("b").blob);
}

TEST_F(SigningRecords, are_rewrapped_under_new_masters) {
  for (size_t i = 0; i < 3; ++i) {
    world.previous[i] = world.masters[i];
    world.masters[i] = MemoryMaster::random_key(world.arena, world.random);
  }
  Daemon daemon(world);
  RewrapOptions options;
  options.calls_per_second = 0;
  Rewrap rewrap(world.time.loop, daemon.store, *daemon.regions, world.log.log(), options,
                daemon.no_memory, notebook);
  ASSERT_TRUE(run(rewrap.run({}, "", nullptr, TimePoint::max())));
  EXPECT_EQ(rewrap.report().wraps, 3u);
  EXPECT_EQ(stored(kSigningId).versions.at(1).public_key, untouched.versions.at(1).public_key);
}

struct RememberedSigningRecords : testing::ReplicatedTest {};

TEST_F(RememberedSigningRecords, are_kept_by_this_hosts_memory_and_may_drop_old_versions) {
  Record record;
  record.id = kSigningId;
  record.kind = std::string(kSigningKind);
  record.current = record.serial = record.last = 2;
  record.versions[1].created = record.versions[2].created = "2026-11-22T03:46:00Z";
  for (auto& [number, version] : record.versions) {
    version.creator = "here";
    version.type = "EC_P256";
    version.public_key = "half " + std::to_string(number);
    version.bytes = 138;
    version.check.emplace().fill(static_cast<uint8_t>(number));
  }
  const auto replica = open_replica();
  replica->note(Stored{record, "1", *to_json(record)}, true);
  flush(*replica);
  const Recall recall = world.time.loop.run_task(replica->recall(kSigningId));
  ASSERT_TRUE(recall.stored);
  EXPECT_EQ(recall.stored->record, record);
  Record later = record;
  later.versions.erase(1);
  EXPECT_FALSE(goes_back(record, later));
  later.versions.at(2).check.emplace().fill(9);
  EXPECT_TRUE(goes_back(record, later));
}

}  // namespace
}  // namespace keyfs
