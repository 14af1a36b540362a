// Fills the embedded store of a directory with keys, so that a million of them need not be created
// one durable write at a time.
//
//   make_keys DIR COUNT
//
// `keyfs mount --embedded DIR` must have created DIR; no daemon may have it mounted. Ids are key-0
// ... key-(COUNT-1), each wrapped by every master under DIR/masters, as keyfs itself does it.
#include <sqlite3.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/crypto.h"
#include "base/encoding.h"
#include "base/secret.h"
#include "store/record.h"

namespace {

using namespace keyfs;

[[noreturn]] void die(const std::string& what) {
  std::fprintf(stderr, "make_keys: %s\n", what.c_str());
  std::exit(1);
}

template <class T>
T value_of(Result<T> result) {
  if (!result) die(result.error().message);
  return std::move(*result);
}

struct Master {
  std::string region;
  std::string bytes;
  std::string fingerprint;  // 8 bytes
};

void append_number(std::string& out, size_t number) {
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(number >> shift & 0xff);
}

// The blob of kms/local_region.h.
Wrap wrap(const Master& master, const SecretBytes& key, const std::string& id, Random& random) {
  std::string blob = "\x01" + master.fingerprint;
  std::string associated = blob;
  const std::map<std::string, std::string> context = {{"keyfs:id", id}, {"keyfs:version", "1"}};
  append_number(associated, context.size());
  for (const auto& [name, value] : context) {
    for (const std::string& text : {name, value}) {
      append_number(associated, text.size());
      associated += text;
    }
  }
  const auto sealed = value_of(
      aes_256_gcm_seal(bytes_of(master.bytes), bytes_of(associated), key.reveal(), random));
  blob.append(sealed.begin(), sealed.end());
  return {"local:" + hex_encode(bytes_of(master.fingerprint)), blob, "2026-01-01T00:00:00Z", ""};
}

std::vector<Master> read_masters(const std::string& folder) {
  std::vector<Master> masters;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".key") continue;
    std::ifstream file(entry.path(), std::ios::binary);
    Master master;
    master.region = entry.path().stem().string();
    master.bytes.assign(std::istreambuf_iterator<char>(file), {});
    const auto print =
        value_of(hmac_sha256(bytes_of(master.bytes), bytes_of("keyfs local master v1")));
    master.fingerprint.assign(print.begin(), print.begin() + 8);
    masters.push_back(std::move(master));
  }
  if (masters.empty()) die("no masters in " + folder);
  return masters;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: make_keys DIR COUNT\n");
    return 2;
  }
  const std::string dir = argv[1];
  const size_t count = std::strtoull(argv[2], nullptr, 10);
  const std::vector<Master> masters = read_masters(dir + "/masters");
  SecretArena arena;
  OsRandom random;
  sqlite3* db = nullptr;
  sqlite3_stmt* insert = nullptr;
  if (sqlite3_open_v2((dir + "/keys.db").c_str(), &db, SQLITE_OPEN_READWRITE, nullptr) !=
          SQLITE_OK ||
      sqlite3_exec(db, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr) != SQLITE_OK ||
      sqlite3_prepare_v2(db,
                         "INSERT OR IGNORE INTO records(id, record, revision) VALUES(?1, ?2, "
                         "(SELECT coalesce(max(revision), 0) + 1 FROM records))",
                         -1, &insert, nullptr) != SQLITE_OK) {
    die(sqlite3_errmsg(db));
  }
  for (size_t i = 0; i < count; ++i) {
    const std::string id = "key-" + std::to_string(i);
    const SecretBytes key = value_of(random.secret(arena, 32));
    Record record;
    record.id = id;
    record.current = 1;
    Version& version = record.versions[1];
    version.created = "2026-01-01T00:00:00Z";
    version.creator = "bench";
    version.bytes = 32;
    version.check = value_of(key_check_value(key.reveal(), id, 1));
    for (const Master& master : masters) {
      version.wrapped[master.region] = wrap(master, key, id, random);
    }
    const std::string text = value_of(to_json(record));
    sqlite3_bind_text(insert, 1, id.data(), static_cast<int>(id.size()), SQLITE_STATIC);
    sqlite3_bind_text(insert, 2, text.data(), static_cast<int>(text.size()), SQLITE_STATIC);
    if (sqlite3_step(insert) != SQLITE_DONE) die(sqlite3_errmsg(db));
    sqlite3_reset(insert);
  }
  sqlite3_finalize(insert);
  if (sqlite3_exec(db, "COMMIT", nullptr, nullptr, nullptr) != SQLITE_OK) die(sqlite3_errmsg(db));
  sqlite3_close(db);
  return 0;
}
