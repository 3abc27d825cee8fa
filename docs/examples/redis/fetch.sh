#!/bin/sh
# fetch.sh: client libraries of the Java, Go and Node examples into .cache/examples, for the tests marked `examples`.
# A tool that is missing is left out; its test then skips.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cache=$(cd "$here/../../.." && pwd)/.cache/examples
mkdir -p "$cache/node" "$cache/go" "$cache/java"

if command -v npm >/dev/null; then
  cd "$cache/node" && npm install --silent --no-audit --no-fund --no-save --prefix . redis@5.9.0
fi
if command -v go >/dev/null; then
  cd "$cache/go" && cp "$here"/*.go .
  [ -f go.mod ] || go mod init example.com/lookup
  go get github.com/redis/go-redis/v9@v9.17.2 && go mod tidy && go build -o lookup lookup.go && go build -o visible visible.go
fi
if command -v mvn >/dev/null; then
  cd "$cache/java" && cat >pom.xml <<'POM'
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>example</groupId><artifactId>lookup</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>redis.clients</groupId><artifactId>jedis</artifactId><version>6.2.0</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-nop</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
POM
  mvn -q -B dependency:copy-dependencies -DoutputDirectory=lib && cp "$here"/*.java . && javac -cp 'lib/*' -d . ./*.java
fi
