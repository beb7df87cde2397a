#include "frontends/zookeeper/digest.h"

#include <openssl/evp.h>

#include "base/check.h"
#include "wire/json.h"

namespace conclave::zookeeper {
std::array<unsigned char, 20> sha1(BytesView bytes) {
  std::array<unsigned char, 20> digest{};
  CHECK(EVP_Digest(bytes.data(), bytes.size(), digest.data(), nullptr, EVP_sha1(), nullptr) == 1);
  return digest;
}

Bytes digest_id(BytesView credentials) {
  const auto digest = sha1(credentials);
  Bytes id(credentials.substr(0, credentials.find(':')));
  id += ':';
  wire::append_base64(BytesView(reinterpret_cast<const char*>(digest.data()), digest.size()), id);
  return id;
}

bool is_digest_id(BytesView id) {
  const std::size_t colon = id.find(':');
  if (colon == BytesView::npos || colon == 0) return false;
  const auto digest = wire::from_base64(id.substr(colon + 1));
  return digest && digest->size() == std::tuple_size<decltype(sha1({}))>();
}

}  // namespace conclave::zookeeper
