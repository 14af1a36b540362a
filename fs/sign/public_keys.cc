#include "fs/sign/public_keys.h"

#include <functional>
#include <nlohmann/json.hpp>

#include "base/encoding.h"
#include "fs/sign/state_files.h"

namespace keyfs {

PublicKeyPtr PublicKeys::read(const std::string& directory, const std::string& custody,
                              const std::string& key) {
  auto file = state_file_name(custody, key);
  if (!file) return nullptr;
  auto json = read_state_file(directory + "/" + *file);
  if (!json || !*json) return nullptr;
  if (text_in(**json, "custody") != custody || text_in(**json, "key") != key) return nullptr;
  auto der = base64_decode(text_in(**json, "public"));
  if (!der) return nullptr;
  auto parsed = PublicKey::parse(*der);
  return parsed ? *parsed : nullptr;
}

Task<PublicKeyPtr> PublicKeys::get(std::string custody, std::string key) {
  std::function<Result<PublicKeyPtr>()> work = [directory = directory_, custody, key] {
    return Result<PublicKeyPtr>(read(directory, custody, key));
  };
  auto known = co_await worker_.run(std::move(work));
  co_return known ? *known : nullptr;
}

Task<void> PublicKeys::put(std::string custody, std::string key, PublicKeyPtr public_key) {
  std::function<Result<void>()> write = [directory = directory_, custody, key,
                                         public_key]() -> Result<void> {
    auto file = state_file_name(custody, key);
    if (!file) return fail(std::move(file.error()));
    return write_state_file(
        directory + "/" + *file,
        {{"custody", custody}, {"key", key}, {"public", base64_encode(public_key->der())}});
  };
  (void)co_await worker_.run(std::move(write));
}

Task<void> PublicKeys::drop(std::string custody, std::string key) {
  std::function<Result<void>()> remove = [directory = directory_, custody, key]() -> Result<void> {
    auto file = state_file_name(custody, key);
    if (!file) return fail(std::move(file.error()));
    return remove_state_file(directory + "/" + *file);
  };
  (void)co_await worker_.run(std::move(remove));
}

}  // namespace keyfs
