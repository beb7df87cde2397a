#include "server/passwords.h"

#include <crypt.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>

#include <cstring>
#include <memory>
#include <string>

#include "base/check.h"
#include "wire/sha256.h"

namespace conclave::server {
namespace {

constexpr std::size_t kBcryptBytes = 72;
constexpr const char* kBcryptPrefix = "$2b$";
constexpr const char* kGosPrefix = "$2a$";

// As a text of at most 72 bytes.
std::string reduced(BytesView password) {
  const bool fits = password.size() <= kBcryptBytes && password.find('\0') == BytesView::npos;
  if (fits) return std::string(password);
  wire::Sha256 hash;
  hash.add(password);
  std::string hex;
  for (const char c : hash.finish()) {
    constexpr BytesView kDigits = "0123456789abcdef";
    hex.push_back(kDigits[static_cast<unsigned char>(c) >> 4]);
    hex.push_back(kDigits[static_cast<unsigned char>(c) & 15]);
  }
  return hex;
}

// nullopt-like: empty if `setting` is none of bcrypt's. REQUIRES: at most 72 bytes, none zero.
Bytes bcrypt(std::string text, const std::string& setting) {
  auto data = std::make_unique<crypt_data>();  // 32 KiB
  const char* hash = crypt_r(text.c_str(), setting.c_str(), data.get());
  Bytes result;
  if (hash != nullptr && hash[0] == '$') result = hash;
  OPENSSL_cleanse(text.data(), text.size());
  OPENSSL_cleanse(data.get(), sizeof(*data));
  return result;
}

// Go's is what libcrypt calls $2b$: libcrypt's own $2a$ makes something else of some passwords.
bool matches_gos(BytesView password, BytesView hash) {
  const BytesView read = password.substr(0, kBcryptBytes);
  if (read.find('\0') != BytesView::npos) return false;
  std::string setting(hash);
  setting[2] = kBcryptPrefix[2];
  const Bytes again = bcrypt(std::string(read), setting);
  return again.size() == setting.size() &&
         CRYPTO_memcmp(again.data(), setting.data(), setting.size()) == 0;
}

}  // namespace

Bytes hash_password(BytesView password, std::uint32_t cost) {
  char setting[CRYPT_GENSALT_OUTPUT_SIZE];
  const char* made =
      crypt_gensalt_rn(kBcryptPrefix, cost, nullptr, 0, setting, static_cast<int>(sizeof(setting)));
  CHECK(made != nullptr, "no salt for bcrypt with cost {}", cost);
  Bytes hash = bcrypt(reduced(password), setting);
  CHECK(!hash.empty(), "libcrypt does not know bcrypt");
  return hash;
}

bool password_matches(BytesView password, BytesView hash) {
  if (hash.starts_with(kGosPrefix)) return matches_gos(password, hash);
  const Bytes again = bcrypt(reduced(password), std::string(hash));
  return !again.empty() && again.size() == hash.size() &&
         CRYPTO_memcmp(again.data(), hash.data(), hash.size()) == 0;
}

Bytes random_bytes(std::size_t count) {
  Bytes bytes(count, '\0');
  const int done =
      RAND_bytes(reinterpret_cast<unsigned char*>(bytes.data()), static_cast<int>(bytes.size()));
  CHECK(done == 1, "the operating system gives no random bytes");
  return bytes;
}

}  // namespace conclave::server
