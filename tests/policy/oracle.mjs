// The independent oracle: reads one simulation a line (JSON), writes one verdict a line, in one process.
//
// It calls the simulator's core and not its `runSimulation`, which drops the condition keys kms:EncryptionContext:… before it asks.
// Usage: node oracle.mjs PATH-OF-node_modules < cases > verdicts
import { createInterface } from 'node:readline'
import { pathToFileURL } from 'node:url'

const modules = `${pathToFileURL(process.argv[2]).href}/@cloud-copilot`
const { loadPolicy } = await import(`${modules}/iam-policy/dist/esm/index.js`)
const inside = `${modules}/iam-simulate/dist/esm`
const { authorize } = await import(`${inside}/core_engine/CoreSimulatorEngine.js`)
const { DiscoveryContextKeyConstraints } = await import(`${inside}/context_keys/discoveryContextKeyConstraints.js`)
const { AwsRequestImpl } = await import(`${inside}/request/request.js`)
const { RequestContextImpl } = await import(`${inside}/requestContext.js`)

const everything = { Version: '2012-10-17', Statement: { Effect: 'Allow', Principal: '*', Action: '*', Resource: '*' } }
const resourceControlPolicies = [{ orgIdentifier: 'root', policies: [loadPolicy(everything, { name: 'everything' })] }]
const simulationParameters = {
  simulationMode: 'Strict',
  discoveryContextKeyConstraints: new DiscoveryContextKeyConstraints([]),
}

function verdict(asked) {
  const request = new AwsRequestImpl(
    asked.principal,
    { resource: asked.resource, accountId: asked.resource_account },
    asked.action,
    new RequestContextImpl(asked.context),
    asked.resource === '*', // an action that takes no resource
  )
  return authorize({
    request,
    sessionPolicy: undefined,
    identityPolicies: asked.identity_policies.map((policy, index) => loadPolicy(policy, { name: `policy ${index}` })),
    serviceControlPolicies: [],
    resourceControlPolicies,
    resourcePolicy: asked.key_policy ? loadPolicy(asked.key_policy, { name: 'key policy' }) : undefined,
    permissionBoundaries: undefined,
    vpcEndpointPolicies: undefined,
    simulationParameters,
  }).result
}

for await (const line of createInterface({ input: process.stdin })) {
  let answer
  try {
    answer = verdict(JSON.parse(line))
  } catch (error) {
    answer = `error: ${error.message}`
  }
  process.stdout.write(`${answer}\n`)
}
