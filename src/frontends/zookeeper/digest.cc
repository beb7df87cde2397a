#include "frontends/zookeeper/digest.h"

#include <bit>
#include <cstdint>

#include "wire/json.h"

namespace conclave::zookeeper {
namespace {

constexpr std::size_t kBlockBytes = 64;

using Sha1State = std::array<std::uint32_t, 5>;

struct Sha1Round {
  std::uint32_t function;
  std::uint32_t constant;
};

// FIPS 180-4, 4.1.1 and 4.2.1.
Sha1Round sha1_round(std::size_t t, std::uint32_t b, std::uint32_t c, std::uint32_t d) {
  if (t < 20) return {(b & c) ^ (~b & d), 0x5a827999};
  if (t < 40) return {b ^ c ^ d, 0x6ed9eba1};
  if (t < 60) return {(b & c) ^ (b & d) ^ (c & d), 0x8f1bbcdc};
  return {b ^ c ^ d, 0xca62c1d6};
}

// 6.1.2. REQUIRES: a whole block.
void add_block(BytesView block, Sha1State& state) {
  std::array<std::uint32_t, 80> schedule{};
  for (std::size_t i = 0; i < kBlockBytes; ++i) {
    schedule[i / 4] = schedule[i / 4] << 8 | static_cast<unsigned char>(block[i]);
  }
  for (std::size_t t = 16; t < schedule.size(); ++t) {
    schedule[t] =
        std::rotl(schedule[t - 3] ^ schedule[t - 8] ^ schedule[t - 14] ^ schedule[t - 16], 1);
  }
  auto [a, b, c, d, e] = state;
  for (std::size_t t = 0; t < schedule.size(); ++t) {
    const Sha1Round round = sha1_round(t, b, c, d);
    const std::uint32_t next = std::rotl(a, 5) + round.function + e + round.constant + schedule[t];
    e = d;
    d = c;
    c = std::rotl(b, 30);
    b = a;
    a = next;
  }
  state = {state[0] + a, state[1] + b, state[2] + c, state[3] + d, state[4] + e};
}

}  // namespace

std::array<unsigned char, 20> sha1(BytesView bytes) {
  Bytes padded(bytes);
  padded.push_back('\x80');
  while (padded.size() % kBlockBytes != kBlockBytes - 8) padded.push_back('\0');
  const std::uint64_t bits = std::uint64_t{bytes.size()} * 8;
  for (int shift = 56; shift >= 0; shift -= 8) {
    padded.push_back(static_cast<char>(bits >> shift & 0xff));
  }
  Sha1State state{0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
  for (std::size_t at = 0; at < padded.size(); at += kBlockBytes) {
    add_block(BytesView(padded).substr(at, kBlockBytes), state);
  }
  std::array<unsigned char, 20> digest{};
  for (std::size_t i = 0; i < digest.size(); ++i) {
    digest[i] = static_cast<unsigned char>(state[i / 4] >> (24 - 8 * (i % 4)) & 0xff);
  }
  return digest;
}

Bytes digest_id(BytesView credentials) {
  const auto digest = sha1(credentials);
  Bytes id(credentials.substr(0, credentials.find(':')));
  id += ':';
  wire::append_base64(BytesView(reinterpret_cast<const char*>(digest.data()), digest.size()), id);
  return id;
}

}  // namespace conclave::zookeeper
