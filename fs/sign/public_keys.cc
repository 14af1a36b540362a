#include "fs/sign/public_keys.h"

#include <functional>
#include <nlohmann/json.hpp>

#include "base/encoding.h"
#include "fs/sign/state_files.h"

namespace keyfs {

Task<PublicKeyPtr> PublicKeys::get(std::string custody, std::string key) {
  std::function<Result<PublicKeyPtr>()> read = [directory = directory_, custody,
                                                key]() -> Result<PublicKeyPtr> {
    auto file = state_file_name(custody, key);
    if (!file) return fail(std::move(file.error()));
    auto json = read_state_file(directory + "/" + *file);
    if (!json) return fail(std::move(json.error()));
    if (!*json || text_in(**json, "custody") != custody || text_in(**json, "key") != key) {
      return PublicKeyPtr();
    }
    auto der = base64_decode(text_in(**json, "public"));
    if (!der) return fail(std::move(der.error()));
    return PublicKey::parse(*der);
  };
  auto known = co_await worker_.run(std::move(read));
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
