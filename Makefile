# `sam build` calls one target per function of template.yaml. Needs cargo-lambda and curl.
.PHONY: build-CommandFunction build-QueryFunction build-CatchUpFunction build-MigrateFunction

LAMBDA_DIR ?= target/lambda
# The certificates of all RDS databases. Set this to use a local copy.
RDS_BUNDLE ?= $(LAMBDA_DIR)/global-bundle.pem

build-CommandFunction: bin = command
build-QueryFunction: bin = query
build-CatchUpFunction: bin = catch_up
build-MigrateFunction: bin = migrate

build-CommandFunction build-QueryFunction build-CatchUpFunction build-MigrateFunction: $(RDS_BUNDLE)
	cargo lambda build --release --no-default-features --features lambda,users --arm64 --lambda-dir $(LAMBDA_DIR) --bin $(bin)
	cp $(LAMBDA_DIR)/$(bin)/bootstrap $(RDS_BUNDLE) "$(ARTIFACTS_DIR)/"

$(LAMBDA_DIR)/global-bundle.pem:
	mkdir -p $(@D)
	curl --fail --silent --show-error --proto '=https' --output $@.part \
		https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem
	mv $@.part $@
