// New keys: no step that fails, and no crash, leaves a key without a name that is not to be deleted.
#include "fs/sign/signing_fixture.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;
using testing::SigningHost;
using Mode = GenerateRequest::Mode;
using When = MemoryCustody::When;

class GenerateTest : public testing::SigningTest {
 protected:
  Task<void> generate_into(SigningKeys& signing, GenerateRequest one,
                           std::optional<Result<SigningKeyPtr>>& out) {
    out = co_await signing.generate(std::move(one));
  }
  Task<void> remove_behind(SigningKeys& signing, std::string id) {
    (void)co_await signing.remove(std::move(id), soon());
  }
  Task<void> keep_signing(SigningKeys& signing, bool& stop, size_t& signatures, size_t& failures) {
    while (!stop) {
      DigestRequest one = request("ca");
      auto outcome = co_await signing.sign(std::move(one));
      if (!outcome || !outcome->done) {
        ++failures;
        continue;
      }
      expect_verifies(*outcome->done);
      ++signatures;
      for (int i = 0; i < 8; ++i) co_await loop.yield();
    }
  }
  // What is to be deleted is, after the grace time.
  void expect_no_orphans(SigningHost& one) {
    one.run_behind();
    wait(options.grace + 3min);
    EXPECT_EQ(keys->orphans(), std::vector<std::string>());
    EXPECT_EQ(files("begun"), 0u);
    EXPECT_EQ(files("doomed"), 0u);
  }
};

TEST_F(GenerateTest, a_new_key_takes_the_name_and_the_old_one_is_deleted_after_its_grace) {
  auto one = loaded_host();
  one->run_behind();
  EXPECT_EQ(generate(*one, "ca", Mode::kRotate).error().code, Code::kInvalid);
  const auto first = generate(*one, "ca", Mode::kCreate);
  ASSERT_TRUE(first.has_value()) << first.error().message;
  EXPECT_EQ(generate(*one, "ca", Mode::kCreate).error().code, Code::kInvalid);
  GenerateRequest rotation("ca", std::nullopt, "", Mode::kRotate, soon());
  const auto second = run(one->signing->generate(rotation));
  ASSERT_TRUE(second.has_value()) << second.error().message;
  EXPECT_NE((*first)->key, (*second)->key);
  EXPECT_EQ(custody.key_of("ca"), (*second)->key);
  expect_right_key(*one, "ca");
  EXPECT_EQ(one->signing->status().queued_deletions, 1u);
  wait(options.grace - 1min);
  EXPECT_FALSE(keys->keys.at((*first)->key).deletion);
  wait(2min);
  EXPECT_TRUE(keys->keys.at((*first)->key).deletion);
  EXPECT_FALSE(keys->keys.at((*second)->key).deletion);
  EXPECT_EQ(one->signing->status().deleted, 1u);
  EXPECT_EQ(one->signing->status().made, 2u);
}

TEST_F(GenerateTest, whichever_call_fails_the_old_key_signs_on_and_none_is_left_behind) {
  for (const char* call : {"create", "public_key", "sign", "point"}) {
    for (const When when : {When::kBefore, When::kAfter, When::kAfterReference}) {
      for (const Code code : {Code::kTimeout, Code::kUnavailable, Code::kDenied}) {
        if (when == When::kAfterReference && std::string(call) != "create") continue;
        // A refusal that was no answer to what was done; KMS does not refuse after it.
        if (std::string(call) == "create" && when == When::kAfter && code == Code::kDenied)
          continue;
        SCOPED_TRACE(std::string(call) + " " + std::to_string(static_cast<int>(when)) + " " +
                     std::string(to_string(code)));
        auto one = loaded_host();
        ASSERT_TRUE(generate(*one, "ca").has_value());
        const std::string old = custody.key_of("ca");
        custody.fail(call, 1, when, Error(code, "no"));
        const auto made = generate(*one, "ca");
        // A name that was moved all the same counts.
        const bool moved = std::string(call) == "point" && when == When::kAfter;
        EXPECT_EQ(made.has_value(), moved);
        EXPECT_EQ(custody.key_of("ca") == old, !moved);
        // Whether there will be a key is not known: it is looked for.
        const bool unheard =
            std::string(call) == "create" && when == When::kBefore && code != Code::kDenied;
        EXPECT_EQ(files("begun"), unheard ? 1u : 0u);
        expect_right_key(*one, "ca");
        expect_no_orphans(*one);
        EXPECT_FALSE(keys->keys.at(custody.key_of("ca")).deletion);
        one.reset();
        EXPECT_EQ(run(loaded_host()->signing->sign(request("ca")))->done.has_value(), true);
      }
    }
  }
}

TEST_F(GenerateTest, killed_at_each_step_it_leaves_no_key_behind_and_the_right_one_signs) {
  ASSERT_TRUE(generate(*loaded_host(), "ca").has_value());
  for (const char* call : {"create", "public_key", "sign", "point", "find"}) {
    SCOPED_TRACE(call);
    auto one = loaded_host();
    const std::string old = custody.key_of("ca");
    std::optional<Result<SigningKeyPtr>> out;
    const bool moved = std::string(call) == "find";
    if (moved) {
      // The name was moved, and the process ends before it hears of it.
      custody.fail("point", 1, When::kAfter, Error(Code::kTimeout, "lost"));
      block("point");
    } else {
      block(call);
    }
    one->start(generate_into(*one->signing, wanted("ca"), out));
    until_running(moved ? "point" : call);
    if (moved) {
      blocked = "find";
      wait(11ms);
      until_running("find");
    }
    EXPECT_EQ(files("begun"), 1u);
    EXPECT_FALSE(out.has_value());
    one.reset();  // killed
    open();
    EXPECT_EQ(custody.key_of("ca") != old, moved);
    auto next = loaded_host();
    expect_right_key(*next, "ca");
    expect_no_orphans(*next);
    expect_right_key(*next, "ca");
    EXPECT_FALSE(keys->keys.at(custody.key_of("ca")).deletion);
  }
}

TEST_F(GenerateTest, killed_after_the_move_and_replaced_at_once_it_leaves_no_key_behind) {
  ASSERT_TRUE(generate(*loaded_host(), "ca").has_value());
  const std::string first = custody.key_of("ca");
  auto one = loaded_host();
  std::optional<Result<SigningKeyPtr>> out;
  custody.fail("point", 1, When::kAfter, Error(Code::kTimeout, "lost"));
  block("point");
  one->start(generate_into(*one->signing, wanted("ca"), out));
  until_running("point");
  blocked = "find";
  wait(11ms);
  until_running("find");
  one.reset();  // killed
  open();
  const std::string second = custody.key_of("ca");
  EXPECT_NE(second, first);
  // The same again, before anybody has looked at what the killed one has begun.
  auto next = loaded_host();
  ASSERT_TRUE(generate(*next, "ca").has_value());
  next->run_behind();
  wait(options.grace - 1min);
  EXPECT_FALSE(keys->keys.at(second).deletion) << "it may be in use for the grace time";
  wait(4min);
  EXPECT_EQ(keys->orphans(), std::vector<std::string>());
  EXPECT_TRUE(keys->keys.at(first).deletion);
  EXPECT_TRUE(keys->keys.at(second).deletion);
  EXPECT_EQ(files("begun") + files("doomed"), 0u);
}

TEST_F(GenerateTest, what_a_living_process_has_begun_is_left_alone) {
  auto one = loaded_host();
  std::optional<Result<SigningKeyPtr>> out;
  block("point");
  one->start(generate_into(*one->signing, wanted("ca"), out));
  until_running("point");
  auto other = loaded_host();
  EXPECT_TRUE(run(other->signing->settle(soon())));
  EXPECT_EQ(files("begun"), 1u);
  EXPECT_EQ(files("doomed"), 0u);
  open();
  wait(1s);
  ASSERT_TRUE(out.has_value() && out->has_value());
  expect_right_key(*one, "ca");
  expect_right_key(*other, "ca");
}

TEST_F(GenerateTest, while_nobody_knows_where_the_name_points_neither_key_is_deleted) {
  auto one = loaded_host();
  ASSERT_TRUE(generate(*one, "ca").has_value());
  const std::string old = custody.key_of("ca");
  one->run_behind();
  custody.fail("point", 1, When::kAfter, Error(Code::kTimeout, "lost"));
  custody.fail("find", 2, When::kBefore, Error(Code::kUnavailable, "out"));
  custody.fail("find", 3, When::kBefore, Error(Code::kUnavailable, "out"));
  EXPECT_FALSE(generate(*one, "ca").has_value());
  EXPECT_EQ(one->signing->status().queued_deletions, 0u);
  EXPECT_EQ(files("begun"), 1u);
  wait(1min);  // it is known by now
  EXPECT_EQ(files("begun"), 0u);
  EXPECT_NE(custody.key_of("ca"), old);
  EXPECT_FALSE(keys->keys.at(old).deletion);
  expect_right_key(*one, "ca");
  wait(options.grace + 1min);
  EXPECT_TRUE(keys->keys.at(old).deletion);
  EXPECT_EQ(keys->orphans(), std::vector<std::string>());
}

TEST_F(GenerateTest, a_name_that_is_moved_late_keeps_its_key_and_the_other_one_goes) {
  auto one = loaded_host();
  ASSERT_TRUE(generate(*one, "ca").has_value());
  const std::string old = custody.key_of("ca");
  one->run_behind();
  custody.fail("point", 1, When::kBefore, Error(Code::kTimeout, "lost"));
  ASSERT_FALSE(generate(*one, "ca").has_value());
  const std::string late = keys->orphans().at(0);
  keys->names.at("example_org/srv1/ca").key = late;  // what was sent arrives
  wait(options.grace + 3min);
  EXPECT_FALSE(keys->keys.at(late).deletion);
  EXPECT_TRUE(keys->keys.at(old).deletion);
  expect_right_key(*one, "ca");
}

TEST_F(GenerateTest, the_loser_of_a_race_between_processes_deletes_its_own_key) {
  for (const Mode mode : {Mode::kCreate, Mode::kPut}) {
    const std::string id = mode == Mode::kCreate ? "made" : "ca";
    auto one = loaded_host();
    auto other = loaded_host();
    if (mode == Mode::kPut) {
      ASSERT_TRUE(generate(*one, id).has_value());
    }
    std::optional<Result<SigningKeyPtr>> mine;
    std::optional<Result<SigningKeyPtr>> theirs;
    block("point");
    one->start(generate_into(*one->signing, wanted(id, mode), mine));
    other->start(generate_into(*other->signing, wanted(id, mode), theirs));
    for (int i = 0; custody.running("point") < 2 && i < 1000; ++i) wait(1ms);
    open();
    wait(1s);
    ASSERT_TRUE(mine && theirs);
    EXPECT_NE(mine->has_value(), theirs->has_value());
    const Error& lost = mine->has_value() ? theirs->error() : mine->error();
    EXPECT_EQ(lost.code, mode == Mode::kCreate ? Code::kInvalid : Code::kUnavailable);
    expect_right_key(*one, id);
    expect_right_key(*other, id);
    expect_no_orphans(*one);
  }
}

TEST_F(GenerateTest, two_of_one_id_in_a_process_come_one_after_the_other) {
  auto one = loaded_host();
  std::optional<Result<SigningKeyPtr>> first;
  std::optional<Result<SigningKeyPtr>> second;
  one->start(generate_into(*one->signing, wanted("ca"), first));
  one->start(generate_into(*one->signing, wanted("ca"), second));
  wait(1s);
  ASSERT_TRUE(first && second && first->has_value() && second->has_value());
  EXPECT_EQ(custody.most_at_once("create"), 1u);
  EXPECT_EQ(custody.key_of("ca"), (**second)->key);
}

TEST_F(GenerateTest, sixteen_sign_while_the_key_is_overwritten_twenty_times) {
  auto one = loaded_host();
  ASSERT_TRUE(generate(*one, "ca").has_value());
  bool stop = false;
  size_t signatures = 0;
  size_t failures = 0;
  for (int i = 0; i < 16; ++i) {
    one->start(keep_signing(*one->signing, stop, signatures, failures));
  }
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(generate(*one, "ca").has_value());
  stop = true;
  wait(1s);
  EXPECT_GE(signatures, 16u);
  EXPECT_EQ(failures, 0u);
}

TEST_F(GenerateTest, nobody_who_signs_waits_for_a_key_that_is_being_created) {
  auto one = loaded_host();
  ASSERT_TRUE(generate(*one, "ca").has_value());
  std::optional<Result<SigningKeyPtr>> out;
  block("create");
  one->start(generate_into(*one->signing, wanted("ca"), out));
  until_running("create");
  const TimePoint begin = loop.now();
  expect_right_key(*one, "ca");
  EXPECT_LT(loop.now() - begin, 10ms);
  EXPECT_FALSE(out.has_value());
  open();
  wait(1s);
  EXPECT_TRUE(out.has_value() && out->has_value());
}

TEST_F(GenerateTest, a_caller_that_leaves_does_not_stop_it) {
  auto one = loaded_host();
  std::optional<Result<SigningKeyPtr>> out;
  block("point");
  one->start(generate_into(*one->signing, wanted("ca"), out));
  until_running("point");
  one->tasks = std::make_unique<Behind>(loop);
  open();
  wait(1s);
  EXPECT_NE(custody.key_of("ca"), "");
  expect_right_key(*one, "ca");
  EXPECT_EQ(files("begun"), 0u);
}

TEST_F(GenerateTest, so_many_keys_within_an_hour_and_no_more_whoever_starts_anew) {
  options.keys_per_hour = 3;
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(generate(*loaded_host(), "ca").has_value());
  const auto refused = generate(*loaded_host(), "ca");
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, Code::kThrottled);
  EXPECT_EQ(custody.count("create"), 3u);
  EXPECT_EQ(files("begun"), 0u);
  wait(1h);
  EXPECT_TRUE(generate(*loaded_host(), "ca").has_value());
}

TEST_F(GenerateTest, creations_that_were_refused_do_not_count) {
  options.keys_per_hour = 1;
  auto one = loaded_host();
  for (int i = 0; i < 3; ++i) {
    custody.fail("create", 1, When::kBefore, Error(Code::kDenied, "no"));
    EXPECT_EQ(generate(*one, "ca").error().code, Code::kDenied);
  }
  EXPECT_TRUE(generate(*one, "ca").has_value());
}

TEST_F(GenerateTest, damaged_lines_of_the_count_do_not_count_and_a_file_that_is_none_refuses) {
  options.keys_per_hour = 1;
  auto one = loaded_host();
  std::ofstream(options.directory + "/made") << "x\n\n99\n17";
  EXPECT_TRUE(generate(*one, "ca").has_value());
  std::filesystem::remove(options.directory + "/made");
  std::filesystem::create_directory(options.directory + "/made");
  const auto refused = generate(*one, "jwt");
  ASSERT_FALSE(refused.has_value());
  EXPECT_NE(refused.error().message.find("no key is created"), std::string::npos);
  EXPECT_EQ(custody.count("create"), 1u);
}

TEST_F(GenerateTest, without_a_place_to_keep_what_is_begun_none_is_created_and_signing_goes_on) {
  auto one = loaded_host();
  ASSERT_TRUE(generate(*one, "ca").has_value());
  std::filesystem::remove_all(options.directory + "/begun");
  std::ofstream(options.directory + "/begun") << "";
  const auto refused = generate(*one, "ca");
  ASSERT_FALSE(refused.has_value());
  EXPECT_NE(
      refused.error().message.find("no key is created because what is begun could not be kept"),
      std::string::npos);
  EXPECT_EQ(custody.count("create"), 1u);
  expect_right_key(*one, "ca");
}

TEST_F(GenerateTest, an_answer_from_before_its_own_move_does_not_undo_it) {
  auto one = loaded_host();
  ASSERT_TRUE(generate(*one, "ca").has_value());
  const std::string before = custody.key_of("ca");
  const auto made = generate(*one, "ca");
  ASSERT_TRUE(made.has_value());
  // KMS shows an alias as it was for some time.
  keys->names.at("example_org/srv1/ca").key = before;
  one->signing->doubt("ca");
  EXPECT_EQ(sign(*one, "ca")->done->by->key, (*made)->key);
  ASSERT_TRUE(run(one->signing->load(soon())).has_value());
  EXPECT_EQ(sign(*one, "ca")->done->by->key, (*made)->key);
  // After so long somebody has moved it back; the key that it refers to is not deleted.
  wait(2min);
  one->signing->doubt("ca");
  expect_right_key(*one, "ca");
  one->run_behind();
  wait(options.grace + 3min);
  EXPECT_FALSE(keys->keys.at(before).deletion);
  EXPECT_TRUE(log.has("is not deleted, because its name refers to it"));
}

TEST_F(GenerateTest, a_removed_id_does_not_exist_and_its_key_is_deleted) {
  auto one = loaded_host();
  ASSERT_TRUE(generate(*one, "ca").has_value());
  const std::string key = custody.key_of("ca");
  EXPECT_TRUE(run(one->signing->remove("ca", soon())).value());
  EXPECT_EQ(one->signing->find("ca"), nullptr);
  EXPECT_FALSE(sign(*one, "ca")->done);
  EXPECT_TRUE(run(one->signing->settle(soon())));
  EXPECT_TRUE(keys->keys.at(key).deletion);
  EXPECT_FALSE(run(one->signing->remove("ca", soon())).value());
}

TEST_F(GenerateTest, a_removal_that_was_killed_leaves_the_key_as_it_was_or_none) {
  for (const bool before : {true, false}) {
    SCOPED_TRACE(before);
    auto one = loaded_host();
    ASSERT_TRUE(generate(*one, "ca").has_value());
    if (!before) custody.fail("remove_name", 1, When::kAfter, Error(Code::kTimeout, "lost"));
    block("remove_name");
    one->start(remove_behind(*one->signing, "ca"));
    until_running("remove_name");
    if (!before) {
      blocked = "find";
      wait(11ms);
      until_running("find");
    }
    one.reset();
    open();
    auto next = loaded_host();
    expect_no_orphans(*next);
    EXPECT_EQ(custody.key_of("ca").empty(), !before);
    if (before) expect_right_key(*next, "ca");
  }
}

TEST_F(GenerateTest, a_disabled_key_does_not_sign_until_it_is_enabled) {
  auto one = loaded_host();
  ASSERT_TRUE(generate(*one, "ca").has_value());
  ASSERT_TRUE(run(one->signing->set_enabled("ca", false, soon())).has_value());
  EXPECT_EQ(sign(*one, "ca").error().code, Code::kRevoked);
  ASSERT_TRUE(run(one->signing->set_enabled("ca", true, soon())).has_value());
  expect_right_key(*one, "ca");
  EXPECT_EQ(run(one->signing->set_enabled("none", true, soon())).value(), nullptr);
}

TEST_F(GenerateTest, the_old_key_stays_until_every_region_knows_the_new_one) {
  auto one = loaded_host();
  one->run_behind();
  ASSERT_TRUE(generate(*one, "ca").has_value());
  const std::string old = custody.key_of("ca");
  custody.behind = "us-west-2";
  ASSERT_TRUE(generate(*one, "ca").has_value());
  const std::string key = custody.key_of("ca");
  EXPECT_NE(key, old);
  expect_right_key(*one, "ca");
  wait(options.grace + 3min);
  EXPECT_FALSE(keys->keys.at(old).deletion);
  EXPECT_EQ(one->signing->status().unfinished, 1u);
  EXPECT_EQ(log.count("not every region knows"), 1u) << "it is told once";

  // The next process tells its custody what that region may say otherwise.
  one.reset();
  custody.remembered.clear();
  auto next = loaded_host();
  EXPECT_EQ(custody.remembered["ca"], key);
  next->run_behind();
  wait(1min);
  EXPECT_EQ(files("begun"), 1u);
  custody.behind.clear();
  wait(2min);
  EXPECT_EQ(files("begun"), 0u);
  EXPECT_FALSE(keys->keys.at(old).deletion);
  wait(options.grace + 3min);
  EXPECT_TRUE(keys->keys.at(old).deletion);
  EXPECT_FALSE(keys->keys.at(key).deletion);
}

TEST_F(GenerateTest, a_key_of_others_that_was_given_our_name_is_left_alone) {
  auto one = loaded_host();
  one->run_behind();
  ASSERT_TRUE(generate(*one, "ca").has_value());
  const std::string theirs =
      keys->add(SigningKeyType::kEcP256, "the key of the payroll", time.clock.wall());
  for (const bool removes : {false, true}) {
    wait(2min);
    keys->names["example_org/srv1/ca"].key = theirs;
    wait(options.list_every * 2);
    if (removes) {
      ASSERT_TRUE(run(one->signing->remove("ca", soon())).value());
    } else {
      ASSERT_TRUE(generate(*one, "ca").has_value());
      EXPECT_NE(custody.key_of("ca"), theirs);
    }
    wait(options.grace + 3min);
    EXPECT_FALSE(keys->keys.at(theirs).deletion);
    EXPECT_EQ(files("doomed"), 0u);
  }
  EXPECT_EQ(log.count("is not deleted: it is not one that was made for this name"), 2u);
}

TEST_F(GenerateTest, a_name_that_somebody_removed_or_set_back_a_moment_ago_gets_the_new_key) {
  auto one = loaded_host();
  ASSERT_TRUE(generate(*one, "ca").has_value());
  const std::string first = custody.key_of("ca");
  keys->names.erase("example_org/srv1/ca");
  ASSERT_TRUE(generate(*one, "ca").has_value());
  const std::string second = custody.key_of("ca");
  EXPECT_NE(second, first);
  keys->names["example_org/srv1/ca"].key = first;
  ASSERT_TRUE(generate(*one, "ca").has_value());
  expect_right_key(*one, "ca");
  EXPECT_EQ(one->signing->status().made, 3u);
  EXPECT_EQ(keys->keys.size(), 3u) << "each try made one";
}

}  // namespace
}  // namespace keyfs
