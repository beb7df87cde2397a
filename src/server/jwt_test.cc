#include "server/jwt.h"

#include <gtest/gtest.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

namespace conclave::server {
namespace {

class JwtTest : public ::testing::Test {
 protected:
  JwtTest() {
    std::string place = (std::filesystem::temp_directory_path() / "conclave-jwt-XXXXXX").string();
    directory = ::mkdtemp(place.data());
  }
  ~JwtTest() override { std::filesystem::remove_all(directory); }

  std::string path(const std::string& name) const { return directory + "/" + name; }

  // Writes both halves; takes the key.
  void write_keys(const std::string& name, EVP_PKEY* key) const {
    std::FILE* file = std::fopen(path(name + ".key").c_str(), "w");
    PEM_write_PrivateKey(file, key, nullptr, nullptr, 0, nullptr, nullptr);
    std::fclose(file);
    file = std::fopen(path(name + ".pub").c_str(), "w");
    PEM_write_PUBKEY(file, key);
    std::fclose(file);
    EVP_PKEY_free(key);
  }

  JwtOptions options(const std::string& method, const std::string& keys) const {
    return {method, path(keys + ".pub"), path(keys + ".key"), seconds(60)};
  }

  static Jwt open(const JwtOptions& options) {
    auto jwt = Jwt::open(options);
    EXPECT_TRUE(jwt.has_value()) << jwt.error().message;
    return std::move(*jwt);
  }

  static void check(const Jwt& jwt) {
    const api::Identity ann{"ann \"the\" \xc3\xa9", 7};
    const Bytes token = jwt.make(ann, 1000);
    EXPECT_EQ(jwt.read(token, 1000), ann);
    EXPECT_EQ(jwt.read(token, 1060), ann);
    EXPECT_EQ(jwt.read(token, 1061), std::nullopt) << "expired";
    for (std::size_t i = 0; i < token.size(); i += 3) {
      Bytes forged = token;
      forged[i] = forged[i] == 'A' ? 'B' : 'A';
      EXPECT_EQ(jwt.read(forged, 1000), std::nullopt) << i;
    }
  }

  std::string directory;
};

TEST_F(JwtTest, Rsa) {
  write_keys("rsa", EVP_RSA_gen(2048));
  check(open(options("RS256", "rsa")));
  check(open(options("PS384", "rsa")));
}

TEST_F(JwtTest, EllipticCurves) {
  write_keys("p256", EVP_EC_gen("P-256"));
  write_keys("p521", EVP_EC_gen("P-521"));
  check(open(options("ES256", "p256")));
  check(open(options("ES512", "p521")));
  EXPECT_FALSE(Jwt::open(options("ES384", "p256")).has_value()) << "another curve";
  EXPECT_FALSE(Jwt::open(options("RS256", "p256")).has_value()) << "another kind";
}

TEST_F(JwtTest, Secret) {
  std::ofstream(path("s.key")) << "a secret";
  check(open({"HS256", "", path("s.key"), seconds(60)}));
}

TEST_F(JwtTest, OneThatOnlyReads) {
  write_keys("rsa", EVP_RSA_gen(2048));
  JwtOptions reads = options("RS256", "rsa");
  reads.private_key_file.clear();
  const Jwt reader = open(reads);
  const Bytes token = open(options("RS256", "rsa")).make({"ann", 3}, 1000);
  EXPECT_EQ(reader.read(token, 1000), (api::Identity{"ann", 3}));
  EXPECT_EQ(reader.make({"ann", 3}, 1000), "");
}

// A public key is no secret: it must not pass for one.
TEST_F(JwtTest, TheTokenDoesNotChooseItsMethod) {
  write_keys("rsa", EVP_RSA_gen(2048));
  const Bytes token = open({"HS256", "", path("rsa.pub"), seconds(60)}).make({"root", 1}, 1000);
  EXPECT_EQ(open(options("RS256", "rsa")).read(token, 1000), std::nullopt);
}

TEST_F(JwtTest, KeysThatAreNone) {
  std::ofstream(path("bad.key")) << "no key";
  std::ofstream(path("bad.pub")) << "no key";
  EXPECT_FALSE(Jwt::open(options("RS256", "bad")).has_value());
  EXPECT_FALSE(Jwt::open(options("RS256", "none")).has_value());
}

}  // namespace
}  // namespace conclave::server
