/** A lab for the tests of one `describe`, with credentials; what a test starts in it is stopped after that test. */
import { afterAll, afterEach, beforeAll, beforeEach } from 'vitest';
import { type Credentials, createCredentials } from '../../src/lab/credentials.ts';
import { Lab } from '../../src/lab/hosts.ts';

export interface LabFixture {
  lab: Lab;
  credentials: Credentials;
}

/** Call it in a `describe`. @returns an object whose fields are there while its tests run */
export function useLab(): LabFixture {
  const fixture = {} as LabFixture;
  let standing = 0;
  beforeAll(async () => {
    fixture.lab = await Lab.create();
    fixture.credentials = await createCredentials(fixture.lab.folder);
  });
  beforeEach(() => {
    standing = fixture.lab.programs.length;
  });
  afterEach(() => fixture.lab.stopSince(standing));
  afterAll(() => fixture.lab?.close());
  return fixture;
}
