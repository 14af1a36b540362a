#include "fs/sign/known_names.h"

#include <functional>
#include <nlohmann/json.hpp>

#include "fs/sign/state_files.h"

namespace keyfs {

Result<std::vector<KnownName>> KnownNames::read(const std::string& directory) {
  auto files = state_files_in(directory, ".json");
  if (!files) return fail(std::move(files.error()));
  std::vector<KnownName> known;
  for (const std::string& file : *files) {
    auto json = read_state_file(directory + "/" + file);
    if (!json || !*json) continue;
    KnownName one{text_in(**json, "custody"), text_in(**json, "id"), text_in(**json, "key")};
    if (!one.custody.empty() && !one.id.empty() && !one.key.empty()) known.push_back(one);
  }
  return known;
}

Task<Result<std::vector<KnownName>>> KnownNames::load() {
  std::function<Result<std::vector<KnownName>>()> work = [directory = directory_] {
    return KnownNames::read(directory);
  };
  auto known = co_await worker_.run(std::move(work));
  if (!known) co_return known;
  for (const KnownName& one : *known) on_disk_[{one.custody, one.id}] = one.key;
  co_return known;
}

Task<void> KnownNames::put(std::string custody, std::string id, std::string key) {
  const std::pair<std::string, std::string> name(custody, id);
  const auto there = on_disk_.find(name);
  if (there != on_disk_.end() && there->second == key) co_return;
  std::function<Result<void>()> work = [directory = directory_, custody, id,
                                        key]() -> Result<void> {
    auto file = state_file_name(custody, id);
    if (!file) return fail(std::move(file.error()));
    return write_state_file(directory + "/" + *file,
                            {{"custody", custody}, {"id", id}, {"key", key}});
  };
  const auto written = co_await worker_.run(std::move(work));
  if (written) on_disk_[name] = key;
}

Task<void> KnownNames::drop(std::string custody, std::string id) {
  if (on_disk_.erase({custody, id}) == 0) co_return;
  std::function<Result<void>()> work = [directory = directory_, custody, id]() -> Result<void> {
    auto file = state_file_name(custody, id);
    if (!file) return fail(std::move(file.error()));
    return remove_state_file(directory + "/" + *file);
  };
  (void)co_await worker_.run(std::move(work));
}

void remember_all(const std::vector<KnownName>& known, const std::vector<Custody*>& custodies) {
  for (const KnownName& one : known) {
    for (Custody* custody : custodies) {
      if (custody->kind() == one.custody) custody->remember(one.id, one.key);
    }
  }
}

}  // namespace keyfs
