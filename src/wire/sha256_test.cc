#include "wire/sha256.h"

#include <gtest/gtest.h>

namespace conclave::wire {
namespace {

std::string hex(BytesView bytes) {
  std::string text;
  for (const char c : bytes) {
    text += "0123456789abcdef"[static_cast<unsigned char>(c) >> 4];
    text += "0123456789abcdef"[static_cast<unsigned char>(c) & 15];
  }
  return text;
}

// The examples of FIPS 180-2.
TEST(Sha256, OfNothing) {
  EXPECT_EQ(hex(Sha256().finish()),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

TEST(Sha256, InPieces) {
  Sha256 hash;
  hash.add("abcdbcdecdefdefgefghfghighij");
  hash.add("hijkijkljklmklmnlmnomnopnopq");
  EXPECT_EQ(hex(hash.finish()), "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

}  // namespace
}  // namespace conclave::wire
